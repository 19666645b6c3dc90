"""How does TensorFlow come into the process, quickly and quietly?

Keras looks for scikit-learn, to wrap models for it, and imports all of it where it is installed: a fifth
of the time that TensorFlow's import takes, for what nothing here uses.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from strategies.errors import InputError


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Holds back what TensorFlow's native code says of itself while it is imported.

    No level hides those lines: they are written before its log is set up. If the start fails they
    are shown after all. TF_CPP_MIN_LOG_LEVEL=0 shows them at once.
    """
    with _without("sklearn"), _held_back():
        yield


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except InputError:
            raise  # Its one line says all.
        except BaseException:
            held.seek(0)
            os.write(screen, held.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)


@contextlib.contextmanager
def _without(package: str) -> Iterator[None]:
    """Makes the package look as if it were not installed, unless it is imported already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None
    try:
        yield
    finally:
        del sys.modules[package]
