"""What do the tests of TPU programs need?

TensorFlow's TPU kernels and the TPU's compiler, in a separate environment: `make test-tpu`.

Only a real TPU can show what these tests cannot: that its cores initialise and run the program; how fast,
and with which rounding in its matrix unit; that input reaches the cores in time; that a state is restored
into each core's own memory; what happens at a preemption; that the hosts of a slice accept programs and
data from one client, which finds them by the name of the slice; quotas, prices, and which machine images
are offered.
"""

import os

import pytest

from trainer.config.fields import ConfigError
from trainer.estimate import tpu_compile

# Else libtpu polls Google Cloud's metadata server for minutes.
os.environ["TPU_SKIP_MDS_QUERY"] = "1"


@pytest.fixture(autouse=True, scope="session")
def tpu_packages():
    """Skips the tests where the packages are missing."""
    try:
        tpu_compile.check_packages()
    except ConfigError as error:
        pytest.skip(f"for `make test-tpu`: {error}")
