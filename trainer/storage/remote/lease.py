"""Which process may write to a folder of a bucket?

A bucket has no locks, so the holder of a folder keeps rewriting one object in it, `.holder`. If that is
not renewed for `EXPIRY_S`, by the clock of a process that waits for it, the holder is dead. The object
stays, and names the last holder: no other process can have changed anything since.
"""

import dataclasses
import json
import os
import socket
import threading
import time

from absl import logging

from strategies.errors import Resumable
from trainer.storage.remote.errors import PreconditionFailed
from trainer.storage.remote.gcs import ABSENT, BucketFolder

OBJECT_NAME = ".holder"
RENEW_EVERY_S = 10.0
# Four renewals and the time of one: a busy bucket takes seconds.
EXPIRY_S = 45.0
_POLL_EVERY_S = 1.0


class LeaseLost(Exception):
    """Another run has taken the folder."""


@dataclasses.dataclass(frozen=True)
class _LeaseState:
    """The object as it was read."""

    generation: int
    holder: str = ""
    place: str = ""
    is_held: bool = False


class Lease:
    """The right to write to a folder. `holder` is the same name from run to run."""

    def __init__(self, folder: BucketFolder, holder: str):
        self._folder = folder
        self._holder = holder
        self._generation = ABSENT
        self._num_writes = 0
        self._renewed = -EXPIRY_S
        self._lock = threading.Lock()  # One write at a time.

    def acquire(self, timeout_s: float) -> bool:
        """Waits until the folder is free, and takes it. True if this holder was the last one.

        Raises:
          Resumable: another run has held it for `timeout_s`.
          BucketError, BucketUnavailable: see errors.py.
        """
        began = since = time.monotonic()
        state, is_logged = self._read(), False
        while True:
            is_own = state.holder == self._holder
            is_expired = time.monotonic() - since >= EXPIRY_S
            if (is_own or is_expired or not state.is_held) and self._write(state.generation, True):
                return is_own
            if time.monotonic() - began >= timeout_s:
                raise Resumable(
                    f"`--workdir` is in use by another run ({state.place}). Received: {self._folder}; "
                    "stop that run and run the same command again, or choose another folder."
                )
            if not is_logged:
                logging.info("waiting for the run that uses %s: %s", self._folder, state.place)
                is_logged = True
            time.sleep(_POLL_EVERY_S)
            now = self._read()
            if now.generation != state.generation:
                state, since = now, time.monotonic()

    @property
    def is_valid(self) -> bool:
        """Whether no other process can have found this lease expired yet."""
        return time.monotonic() - self._renewed < EXPIRY_S

    def renew(self) -> None:
        """Shows that the holder is alive. Raises LeaseLost, BucketError, BucketUnavailable."""
        with self._lock:
            if not self._write(self._generation, True):
                raise LeaseLost

    def release(self) -> None:
        """Lets others take the folder at once. Raises BucketError, BucketUnavailable."""
        self._write(self._generation, False)

    def _write(self, generation: int, is_held: bool) -> bool:
        """Whether it was written: False if another process was first."""
        content = {
            "holder": self._holder,
            "place": f"{socket.gethostname()}, process {os.getpid()}",
            "is_at_work": is_held,
            "beat": self._num_writes,
        }
        self._num_writes += 1
        began = time.monotonic()
        try:
            self._generation = self._folder.write(
                OBJECT_NAME, json.dumps(content).encode(), generation
            )
        except PreconditionFailed:
            return False
        self._renewed = began
        return True

    def _read(self) -> _LeaseState:
        generation = self._folder.generation(OBJECT_NAME)
        if not generation:
            return _LeaseState(ABSENT)
        try:
            found = json.loads(self._folder.read(OBJECT_NAME, generation))
            return _LeaseState(generation, found["holder"], found["place"], found["is_at_work"])
        except (PreconditionFailed, ValueError, KeyError, TypeError):
            # Being rewritten, or not written by a run. If it does not change, it expires.
            return _LeaseState(generation, place="an unknown process", is_held=True)
