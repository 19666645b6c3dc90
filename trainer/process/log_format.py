"""What does a log line look like, and which are shown? The time and the message, one line per event.

Where in the code a line was logged helps nobody who trains. TensorFlow's own Python lines are shown from
warnings up, but not an error of hundreds of lines that it then raises.
"""

import logging as std_logging
import pathlib

from absl import flags, logging

from trainer.process import event_stream, report

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_PACKAGES = (_ROOT / "trainer", _ROOT / "strategies")
_RAISES_WHAT_IT_LOGS = "cluster_coordinator.py"


class _Formatter(std_logging.Formatter):
    def format(self, record: std_logging.LogRecord) -> str:
        time = self.formatTime(record, "%H:%M:%S")
        level = "" if record.levelno <= report.RESULT else f"{record.levelname.lower()}: "
        return f"{time} {level}{record.getMessage()}"


def _is_shown(record: std_logging.LogRecord) -> bool:
    """True for lines from anywhere in these packages, and for warnings from any other."""
    if record.levelno >= std_logging.WARNING:
        is_raised = record.filename == _RAISES_WHAT_IT_LOGS and "\n" in record.getMessage()
        return not is_raised
    path = pathlib.Path(record.pathname)
    return any(path.is_relative_to(package) for package in _PACKAGES)


def _is_result_or_error(record: std_logging.LogRecord) -> bool:
    return record.levelno == report.RESULT or record.levelno >= std_logging.ERROR


def _is_own(record: std_logging.LogRecord) -> bool:
    return not getattr(record, "is_common", False)


def set_up() -> None:
    """Sends absl's log to stderr in this form, or to the event stream where this process has one."""
    flags.FLAGS.mark_as_parsed()  # Its flags are not used, but unparsed flags make absl print a warning.
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    handler = logging.get_absl_handler()
    handler.setFormatter(_Formatter())
    handler.addFilter(_is_shown)
    if event_stream.is_on():
        events = event_stream.Handler()
        events.addFilter(_is_shown)
        std_logging.root.removeHandler(handler)
        std_logging.root.addHandler(events)


def show_less(only_results: bool = False, only_own: bool = False) -> None:
    """From now on only errors and results are shown, or nothing that another task shows too."""
    for handler in std_logging.root.handlers:
        if only_results:
            handler.addFilter(_is_result_or_error)
        if only_own:
            handler.addFilter(_is_own)
