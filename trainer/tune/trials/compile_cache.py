"""How do trials avoid compiling the same program again?

They share XLA's persistent cache, in a temporary folder. Most trials of a sweep differ only in numbers
that are arguments of the compiled program, and compiling takes longer than a short trial trains. The
result has the same bits, since the code is the same.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator, MutableMapping

_FLAGS, _LEVEL = "TF_XLA_FLAGS", "TF_CPP_MIN_LOG_LEVEL"
_CACHE = "--tf_xla_persistent_cache_device_types=CPU --tf_xla_persistent_cache_directory="


@contextlib.contextmanager
def shared() -> Iterator[None]:
    """Lets the processes that are started inside the context share compiled programs.

    The folder belongs to this process, as compiled code depends on the processor and the number of cores.
    """
    with tempfile.TemporaryDirectory(
        prefix="muster-compiled-", ignore_cleanup_errors=True
    ) as folder:
        os.environ[_FLAGS] = f"{os.environ.get(_FLAGS, '')} {_CACHE}{folder}".strip()
        if os.environ.get(_LEVEL) == "2":
            # XLA warns of every program that it loads, as it takes a tuning preference for a CPU feature.
            os.environ[_LEVEL] = "3"
        try:
            yield
        finally:
            unshare(os.environ)


def unshare(environ: MutableMapping[str, str]) -> None:
    """Turns the cache off for processes started with `environ`, as for those with fewer cores."""
    given = environ.pop(_FLAGS, "").partition(_CACHE)[0].strip()
    if given:
        environ[_FLAGS] = given
    if environ.get(_LEVEL) == "3":
        environ[_LEVEL] = "2"
