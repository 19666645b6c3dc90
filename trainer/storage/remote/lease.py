"""Which process may write to a folder of a bucket?

A bucket has no locks, so the holder of a folder keeps rewriting one object in it, `.holder`. If that is
not renewed for `EXPIRY_S`, by the clock of a process that waits for it, the holder is dead. The object
stays, and names the last holder: no other process can have changed anything since.
"""

import dataclasses
import json
import os
import secrets
import socket
import threading
import time

from absl import logging

from strategies.errors import Resumable
from trainer.storage.remote.bucket import ABSENT, Bucket
from trainer.storage.remote.errors import PreconditionFailed

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

    version: str
    holder: str = ""
    place: str = ""
    is_held: bool = False


class Lease:
    """The right to write to a folder. `holder` is the same name from run to run."""

    def __init__(self, folder: Bucket, holder: str):
        self._folder = folder
        self._holder = holder
        self._version = ABSENT
        self._renewed = -EXPIRY_S
        self._lock = threading.Lock()  # One write at a time.

    def acquire(self, timeout_s: float) -> bool:
        """Waits until the folder is free, and takes it. True if this holder was the last one.

        Raises:
          Resumable: another run has held it for `timeout_s`.
          BucketError, BucketUnavailable: see errors.py.
        """
        began = time.monotonic()
        state, is_logged = self._read(), False
        since = time.monotonic()  # Not before: what a slow bucket answers may be of this moment.
        while True:
            is_own = state.holder == self._holder
            is_expired = time.monotonic() - since >= EXPIRY_S
            if (is_own or is_expired or not state.is_held) and self._write(state.version, True):
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
            if now.version != state.version:
                state, since = now, time.monotonic()

    @property
    def is_valid(self) -> bool:
        """Whether no other process can have found this lease expired yet."""
        return time.monotonic() - self._renewed < EXPIRY_S

    def renew(self) -> None:
        """Shows that the holder is alive. Raises LeaseLost, BucketError, BucketUnavailable."""
        with self._lock:
            if not self._write(self._version, True):
                raise LeaseLost

    def release(self) -> None:
        """Lets others take the folder at once. Raises BucketError, BucketUnavailable."""
        self._write(self._version, False)

    def _write(self, version: str, is_held: bool) -> bool:
        """Whether it was written: False if another process was first."""
        content = {
            "holder": self._holder,
            "place": f"{socket.gethostname()}, process {os.getpid()}",
            "is_at_work": is_held,
            # Where a version follows from the content, no two writes may have the same.
            "beat": secrets.token_hex(8),
        }
        began = time.monotonic()
        try:
            self._version = self._folder.write(OBJECT_NAME, json.dumps(content).encode(), version)
        except PreconditionFailed:
            return False
        self._renewed = began
        return True

    def _read(self) -> _LeaseState:
        version = self._folder.version(OBJECT_NAME)
        if not version:
            return _LeaseState(ABSENT)
        try:
            found = json.loads(self._folder.read(OBJECT_NAME, version))
            return _LeaseState(version, found["holder"], found["place"], found["is_at_work"])
        except (PreconditionFailed, ValueError, KeyError, TypeError):
            # Being rewritten, or not written by a run. If it does not change, it expires.
            return _LeaseState(version, place="an unknown process", is_held=True)
