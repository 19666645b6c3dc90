"""What has the sweep decided so far, whatever was killed since?

`ledger.jsonl` has a line for each trial given out, interrupted and ended, in the order in which it
happened, and safe on the disk before anybody acts on it. Its first line is what the sweep was asked.
Read from the beginning it leads to where the sweep stood.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from strategies.errors import InputError
from trainer.config.fields import short_json
from trainer.storage.atomic_files import WorkdirError, to_json

BEGUN, ASKED, INTERRUPTED, ENDED = "begun", "asked", "interrupted", "ended"

Event = dict[str, Any]


class Ledger:
    """The ledger of one sweep. `events` are those it held when it was opened, the first apart."""

    def __init__(self, path: pathlib.Path, asked: Mapping[str, Any]):
        """Opens the ledger, or begins one for a sweep of which `asked` is asked.

        Raises:
          WorkdirError: it cannot be read or written, or is damaged.
          InputError: it is of a sweep of which something else was asked.
        """
        self._path = path
        try:
            self._file = open(path, "ab+", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            self.events = self._open(json.loads(to_json(dict(asked))))  # Its tuples as lists.
        except BaseException:
            self.close()
            raise

    def write(self, event: str, **values: Any) -> None:
        """Adds a line, and returns once it is safe. Raises WorkdirError where it cannot be."""
        try:
            self._file.write(to_json({"event": event, **values}).encode() + b"\n")
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from None

    def close(self) -> None:
        self._file.close()

    def _open(self, asked: Mapping[str, Any]) -> list[Event]:
        try:
            events = _read(self._path, self._file)
        except OSError as error:
            raise self._unwritable(error) from None
        if events:
            _check_same(self._path, events.pop(0), asked)
        else:
            self.write(BEGUN, asked=asked)
        return events

    def _unwritable(self, error: OSError) -> WorkdirError:
        return WorkdirError(
            f"`--workdir` cannot be used ({error.strerror}). Received: {str(self._path)!r}; choose a "
            "folder that you may write to, with room, and run again."
        )


def _read(path: pathlib.Path, file: Any) -> list[Event]:
    """The whole lines. A last one that was cut short, as by a kill, is taken off."""
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
                f"`--workdir` holds a damaged sweep. Received: line {number} of {str(path)!r}; take "
                "that line and what follows it out, or choose another folder."
            ) from None
    return events


def _check_same(path: pathlib.Path, begun: Event, asked: Mapping[str, Any]) -> None:
    before = begun.get("asked")
    if begun["event"] != BEGUN or not isinstance(before, dict):
        raise WorkdirError(
            f"`--workdir` holds a damaged sweep. Received: {str(path)!r}, which does not begin as a "
            "ledger does; choose another folder."
        )
    for name in {**before, **asked}:
        if before.get(name) != asked.get(name):
            raise InputError(
                f"`--workdir` was begun with another sweep: `{name}` was {short_json(before.get(name))}. "
                f"Received: {short_json(asked.get(name))} for {str(path.parent)!r}; choose another "
                "folder, or give the old value."
            )
