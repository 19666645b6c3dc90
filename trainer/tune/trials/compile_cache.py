"""What need not be compiled for every trial anew?

Most trials of a sweep differ in numbers alone, which are arguments of what XLA compiles, and compiling
takes longer than a short trial trains. XLA can keep on the disk what it has compiled, and takes it from
there where the program is the same; with equal bits, since it is the same code.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, MutableMapping

_FLAGS, _LEVEL = "TF_XLA_FLAGS", "TF_CPP_MIN_LOG_LEVEL"
_CACHE = "--tf_xla_persistent_cache_device_types=CPU --tf_xla_persistent_cache_directory="


@contextlib.contextmanager
def shared() -> Iterator[None]:
    """Has the processes that are started meanwhile share what they compile.

    In a folder of this process's, as code is for the processor, and the number of cores, that it was
    compiled for.
    """
    with tempfile.TemporaryDirectory(
        prefix="muster-compiled-", ignore_cleanup_errors=True
    ) as folder:
        os.environ[_FLAGS] = f"{os.environ.get(_FLAGS, '')} {_CACHE}{folder}".strip()
        if os.environ.get(_LEVEL) == "2":
            # XLA warns of every program that it loads, as it takes a preference for a feature.
            os.environ[_LEVEL] = "3"
        try:
            yield
        finally:
            unshare(os.environ)


def unshare(environ: MutableMapping[str, str]) -> None:
    """Leaves out the processes that are started from now on, as those with fewer cores must be."""
    given = environ.pop(_FLAGS, "").partition(_CACHE)[0].strip()
    if given:
        environ[_FLAGS] = given
    if environ.get(_LEVEL) == "3":
        environ[_LEVEL] = "2"
