"""What does a line on the screen look like?

One line per event, with the time and nothing else before it: where in the code it was written helps
nobody who trains. TensorFlow's own Python lines are shown from warnings up.
"""

import contextlib
import logging as std_logging
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator

from absl import flags, logging

from strategies.errors import InputError

_HERE = pathlib.Path(__file__).parent


class _Formatter(std_logging.Formatter):
    def format(self, record: std_logging.LogRecord) -> str:
        time = self.formatTime(record, "%H:%M:%S")
        level = "" if record.levelno <= std_logging.INFO else f"{record.levelname.lower()}: "
        return f"{time} {level}{record.getMessage()}"


def _is_ours(record: std_logging.LogRecord) -> bool:
    """True for the trainer's own lines, and for warnings from anywhere."""
    folder = pathlib.Path(record.pathname).parent
    return record.levelno >= std_logging.WARNING or folder in (_HERE, _HERE.parent / "strategies")


def set_up() -> None:
    """Sends absl's log to stderr in this form."""
    flags.FLAGS.mark_as_parsed()  # They are not used; unparsed, absl puts a warning first.
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.setFormatter(_Formatter())
    handler.addFilter(_is_ours)


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Holds back what TensorFlow's native code says of itself while it is imported.

    No level hides those lines: they are written before its log is set up. If the start fails they
    are shown after all. TF_CPP_MIN_LOG_LEVEL=0 shows them at once.
    """
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
