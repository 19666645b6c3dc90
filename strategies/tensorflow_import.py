"""How is TensorFlow imported quickly and quietly?

Import it under `quietly()`, which hides its native log lines and three packages from Keras. Keras would
import each where it is installed: scikit-learn to wrap models for it, matplotlib to draw galleries, and
pandas to accept its tables. They take half of the time of TensorFlow's import, and nothing here needs
them in Keras. Each can be imported as usual afterwards.
"""

import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator

from strategies import inherited
from strategies.devices import threads
from strategies.errors import InputError

_HIDDEN = ("sklearn", "matplotlib", "pandas")


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
    """Hides what TensorFlow's native code prints while it is imported, and three packages from Keras.

    No log level hides those lines: they are written before TensorFlow's log is set up. If the import
    fails they are shown. TF_CPP_MIN_LOG_LEVEL=0 shows them at once.
    """
    with _hidden(_HIDDEN), _stderr_held_back(), _without_collections():
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
            # All that was created becomes old. As young objects it would be searched at once.
            gc.freeze()
            gc.unfreeze()
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
def _hidden(packages: Iterable[str]) -> Iterator[None]:
    """Makes imports of the packages fail as if they were not installed.

    Those that are already imported stay.
    """
    hidden = [package for package in packages if package not in sys.modules]
    for package in hidden:
        # typeshed lacks None, which the import system documents for this.
        sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for package in hidden:
            del sys.modules[package]
