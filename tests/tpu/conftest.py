"""What do the tests of TPU programs need?

TensorFlow's TPU kernels and the TPU's compiler, in an environment of their own: `make test-tpu`.

What none of them can show, as only a real TPU can: that its cores initialise and run the program; how
fast, and with which roundings in its matrix unit; that input reaches the cores in time; that a state is
restored into memory of its own on each core; what a preemption looks like; that the hosts of a slice take
programs and data from one client, which reaches them by the name of the slice; quotas, prices, and which
machine images are offered on the day.
"""

import os

import pytest

from trainer.config.fields import ConfigError
from trainer.estimate import tpu_compile

os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # Or libtpu would look for a Google Cloud, for minutes.


@pytest.fixture(autouse=True, scope="session")
def tpu_packages():
    """Skips where they are missing."""
    try:
        tpu_compile.check_packages()
    except ConfigError as error:
        pytest.skip(f"for `make test-tpu`: {error}")
