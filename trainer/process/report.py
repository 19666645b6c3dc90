"""What does this process report? Events, each with a name, a line for people and values for programs.

They pass through the log: `log_format.py` shows the lines, and `event_stream.py` gives programs the
whole events. `progress` leaves the newest state where the event stream finds it, and costs the loop
nothing.
"""

import logging as std_logging
from collections.abc import Mapping
from typing import Any

from absl import logging

# Of the lines that are shown with --quiet too, although they are no errors.
RESULT = std_logging.INFO + 5
LOG = "log"  # The event of a line that has no other name.

# What this process does now. Replaced as a whole, as another thread reads it.
_latest: Mapping[str, Any] = {}


def event(name: str, message: str, values: Mapping[str, Any], is_common: bool = False) -> None:
    """Reports an event. `is_common`: every task of a cluster reports the same."""
    _log(std_logging.INFO, message, name, values, is_common)


def common(message: str, *args: object) -> None:
    """Logs a line that every task of a cluster logs alike: where they share a screen, one shows it."""
    _log(std_logging.INFO, message % args if args else message, LOG, {}, is_common=True)


def result(message: str, values: Mapping[str, Any] | None = None) -> None:
    """Reports that the run is done."""
    _log(RESULT, message, "done", values or {}, is_common=False)


def progress(doing: str, **values: Any) -> None:
    """Notes what this process does from now on, as in "waiting for the other tasks"."""
    global _latest  # noqa: PLW0603, as it is the process that does it.
    _latest = {"doing": doing, **values}


def latest_progress() -> Mapping[str, Any]:
    return _latest


def _log(level: int, message: str, name: str, values: Mapping[str, Any], is_common: bool) -> None:
    extra = {"event": name, "values": values, "is_common": is_common}
    logging.get_absl_logger().log(level, "%s", message, extra=extra)
