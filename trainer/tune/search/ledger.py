"""What has the sweep decided so far, even if it was killed since?

`ledger.jsonl` has a line for each trial that was assigned, interrupted or ended, in the order in which
this happened. Each line is on the disk before anything acts on it. The first line has the sweep's
settings. Replaying the lines restores the state of the sweep.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from strategies.errors import InputError, os_reason
from trainer.config.fields import short_json
from trainer.process.standard_json import to_json
from trainer.storage.atomic_files import WorkdirError, flush_folder

BEGUN, ASKED, INTERRUPTED, ENDED = "begun", "asked", "interrupted", "ended"

Event = dict[str, Any]


class Ledger:
    """The ledger of one sweep. `events` are the lines at the time it was opened, without the first."""

    def __init__(self, path: pathlib.Path, settings: Mapping[str, Any]):
        """Opens the ledger of the sweep with these settings, and creates it if there is none.

        Raises:
          WorkdirError: it cannot be read or written, or is damaged.
          InputError: it belongs to a sweep with other settings.
        """
        self._path = path
        try:
            self._file = open(path, "ab+", buffering=0)  # noqa: SIM115
            flush_folder(path.parent)
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            # With lists instead of tuples.
            self.events = self._open(json.loads(to_json(dict(settings))))
        except BaseException:
            self.close()
            raise

    def write(self, event: str, **values: Any) -> None:
        """Appends a line, and returns once it is on the disk. Raises WorkdirError if that fails."""
        try:
            self._file.write(to_json({"event": event, **values}).encode() + b"\n")
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from None

    def close(self) -> None:
        self._file.close()

    def _open(self, settings: Mapping[str, Any]) -> list[Event]:
        try:
            events = _read(self._path, self._file)
        except OSError as error:
            raise self._unwritable(error) from None
        if events:
            _check_same(self._path, events.pop(0), settings)
        else:
            self.write(BEGUN, asked=settings)
        return events

    def _unwritable(self, error: OSError) -> WorkdirError:
        return WorkdirError(
            f"`--workdir` cannot be used ({os_reason(error)}). Received: {str(self._path)!r}; choose a "
            "folder that is writable and has free space, and run the same command again."
        )


def _read(path: pathlib.Path, file: Any) -> list[Event]:
    """The events of all complete lines. An incomplete last line, left by a kill, is removed."""
    file.seek(0)
    *lines, rest = file.read().split(b"\n")
    if rest:
        file.truncate(sum(len(line) + 1 for line in lines))
    events = []
    for number, line in enumerate(lines, 1):
        try:
            event = json.loads(line)
            events.append({"event": event["event"], **event})
        except (ValueError, TypeError, KeyError, RecursionError):
            raise WorkdirError(
                f"`--workdir` holds a damaged sweep. Received: line {number} of {str(path)!r}; remove "
                "that line and all after it, or choose another folder."
            ) from None
    return events


def _check_same(path: pathlib.Path, begun: Event, settings: Mapping[str, Any]) -> None:
    before = begun.get("asked")
    if begun["event"] != BEGUN or not isinstance(before, dict):
        raise WorkdirError(
            f"`--workdir` holds a damaged sweep. Received: {str(path)!r}, whose first "
            "line is not that of a ledger; choose another folder."
        )
    for name in {**before, **settings}:
        if before.get(name) != settings.get(name):
            old, new = short_json(before.get(name)), short_json(settings.get(name))
            raise InputError(
                f"`--workdir` holds a sweep with other settings: `{name}` was {old}. Received: {new} for "
                f"{str(path.parent)!r}; choose another folder, or use the old value."
            )
