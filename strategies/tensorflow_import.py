"""How is TensorFlow imported quickly and quietly?

Import it under `quietly()`, which hides its native log lines and scikit-learn. Keras would import all of
scikit-learn where it is installed, to wrap models for it: a fifth of the time of TensorFlow's import, and
nothing here uses it.
"""

import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Iterator

from strategies import inherited
from strategies.devices import threads
from strategies.errors import InputError


def set_environ_defaults() -> None:
    """Sets what must be set before TensorFlow and Keras are imported.

    TensorFlow's own messages would bury the lines of the run, so they are hidden where the user has not
    set their level. One thread computes each operation.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    inherited.ignore()
    threads.use_one_per_operation()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Hides what TensorFlow's native code prints while it is imported, and scikit-learn from Keras.

    No log level hides those lines: they are written before TensorFlow's log is set up. If the import
    fails they are shown. TF_CPP_MIN_LOG_LEVEL=0 shows them at once.
    """
    with _hidden("sklearn"), _stderr_held_back(), _without_collections():
        yield


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """Nothing that an import creates is garbage, and the search for it takes a sixth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def _stderr_held_back() -> Iterator[None]:
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except InputError:
            raise  # Its message is enough.
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


@contextlib.contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Makes imports of the package fail as if it were not installed, unless it is already imported."""
    if package in sys.modules:
        yield
        return
    # typeshed lacks None, which the import system documents for this.
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]
