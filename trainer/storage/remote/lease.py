"""Whose is a folder of a bucket?

A bucket knows no locks, so whoever works in a folder keeps writing to one object of it, `.holder`. A
beat that stays away for `EXPIRY_S`, by the clock of whoever waits, is a holder that has died. The object
stays behind and tells who was the last: nobody else can have changed anything since.
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
from trainer.storage.remote.gcs import ABSENT, Objects

NAME = ".holder"
BEAT_EVERY_S = 10.0
# Four beats and what one may take: a bucket takes seconds where it is asked for much.
EXPIRY_S = 45.0
_LOOK_EVERY_S = 1.0


class LeaseLost(Exception):
    """Another run has taken the folder."""


@dataclasses.dataclass(frozen=True)
class _Seen:
    """What the object held when it was looked at."""

    generation: int
    holder: str = ""
    place: str = ""
    is_at_work: bool = False


class Lease:
    """The folder of `objects`, for the one who goes by the name `holder` from run to run."""

    def __init__(self, objects: Objects, holder: str):
        self._objects = objects
        self._holder = holder
        self._generation = ABSENT
        self._beats = 0
        self._beaten = -EXPIRY_S
        self._lock = threading.Lock()  # One write at a time.

    def take(self, timeout_s: float) -> bool:
        """Waits until the folder is free, and takes it. True where this holder was the last.

        Raises:
          Resumable: another is at work there, and was for `timeout_s`.
          BucketError, Unreachable: see objects.py.
        """
        began = since = time.monotonic()
        seen, is_told = self._look(), False
        while True:
            is_own = seen.holder == self._holder
            is_dead = time.monotonic() - since >= EXPIRY_S
            if (is_own or is_dead or not seen.is_at_work) and self._write(seen.generation, True):
                return is_own
            if time.monotonic() - began >= timeout_s:
                raise Resumable(
                    f"`--workdir` is another run's, which is still at work there ({seen.place}). "
                    f"Received: {self._objects}; end that run and run again, or choose another folder."
                )
            if not is_told:
                logging.info(
                    "waiting for the run that is at work in %s: %s", self._objects, seen.place
                )
                is_told = True
            time.sleep(_LOOK_EVERY_S)
            now = self._look()
            if now.generation != seen.generation:
                seen, since = now, time.monotonic()

    @property
    def is_fresh(self) -> bool:
        """Whether nobody can take this holder for dead yet."""
        return time.monotonic() - self._beaten < EXPIRY_S

    def beat(self) -> None:
        """Shows that the holder lives. Raises LeaseLost, BucketError, Unreachable."""
        with self._lock:
            if not self._write(self._generation, True):
                raise LeaseLost

    def give_back(self) -> None:
        """Lets others have the folder at once. Raises BucketError, Unreachable."""
        self._write(self._generation, False)

    def _write(self, generation: int, is_at_work: bool) -> bool:
        """Whether nobody was faster."""
        content = {
            "holder": self._holder,
            "place": f"{socket.gethostname()}, process {os.getpid()}",
            "is_at_work": is_at_work,
            "beat": self._beats,
        }
        self._beats += 1
        began = time.monotonic()
        try:
            self._generation = self._objects.write(NAME, json.dumps(content).encode(), generation)
        except PreconditionFailed:
            return False
        self._beaten = began
        return True

    def _look(self) -> _Seen:
        generation = self._objects.generation(NAME)
        if not generation:
            return _Seen(ABSENT)
        try:
            found = json.loads(self._objects.read(NAME, generation))
            return _Seen(generation, found["holder"], found["place"], found["is_at_work"])
        except (PreconditionFailed, ValueError, KeyError, TypeError):
            # Written in this moment, or by something else: what does not change is not at work.
            return _Seen(generation, place="it does not say who", is_at_work=True)
