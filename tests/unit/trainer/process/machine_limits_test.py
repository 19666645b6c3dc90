"""Does a lack of the machine's end a process with one line that names it?"""

import errno
import os
import subprocess
import sys

import pytest

from tests.paths import ROOT
from trainer.process import machine_limits


class ResourceExhaustedError(Exception):
    """Named as TensorFlow's, which this must know without importing it."""


@pytest.mark.parametrize(
    "error, expected",
    [
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "x"), "for 'x'; raise `ulimit -n`"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "`df -i`"),
        (ResourceExhaustedError("/x/events; No space left on device"), "No space left on device"),
        (ResourceExhaustedError("OOM when allocating tensor"), "memory ran out"),
        (RuntimeError("can't start new thread"), "raise `ulimit -u`"),
        (MemoryError(), "memory ran out"),
    ],
)
def test_the_lack_is_named_with_a_fix(error, expected):
    message = machine_limits.describe(error)
    assert expected in message and "\n" not in message


@pytest.mark.parametrize(
    "error", [RuntimeError("odd"), OSError(errno.ENOENT, "none"), KeyError("x")]
)
def test_other_errors_are_faults(error):
    assert machine_limits.describe(error) == ""


def test_too_few_addresses_are_refused_before_tensorflow_would_abort():
    done = subprocess.run(
        ["bash", "-c", f"ulimit -v 2000000; {sys.executable} -m trainer check"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("muster: error: `ulimit -v` must be at least 3145728")
