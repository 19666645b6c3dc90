"""When is a run's folder brought into its bucket, and what if that fails?

While the run goes on, two threads work beside it: one beats for its lease, the other looks for a new
checkpoint and brings in all there is; without one, at times. A bucket that does not answer stops no
run: everything stays here, and is brought in once it answers again, at the latest by the run's end.
"""

import threading
import time
from collections.abc import Callable

from absl import logging

from strategies.errors import EXIT_RESUME, InputError, Resumable
from trainer.process.signals import exit_now
from trainer.storage.remote import lease as lease_lib
from trainer.storage.remote.errors import PreconditionFailed
from trainer.storage.remote.lease import Lease
from trainer.storage.remote.mirror import Mirror

PUSH_EVERY_S = 30.0  # Of metrics; checkpoints go at once. A bucket bills by the request.
_LOOK_EVERY_S = 0.5
_AGAIN_AFTER_S = 5.0  # Of a failure.


class Keeper:
    """A context manager: inside it the bucket follows the folder, and the lease is kept."""

    def __init__(self, lease: Lease, mirror: Mirror, newest: Callable[[], object]):
        """`newest`: what changes with every checkpoint."""
        self._lease = lease
        self._mirror = mirror
        self._newest = newest
        self._lock = threading.Lock()  # One push at a time.
        self._is_over = threading.Event()
        self._has_given_up = False
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("lease", self._beat), ("bucket", self._follow))
        ]

    def flush(self, timeout_s: float) -> None:
        """Returns once the bucket holds all that was written until now.

        Raises:
          Resumable: it took it not within `timeout_s`. All is still here.
        """
        deadline = time.monotonic() + timeout_s
        while error := self._push():
            if time.monotonic() + _AGAIN_AFTER_S > deadline:
                self._has_given_up = True
                raise Resumable(f"{error} What it lacks is kept on this machine.")
            time.sleep(_AGAIN_AFTER_S)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        # Where it lacks something the lease is not given back: who takes it goes on from less.
        if self._has_given_up:
            return
        if error := self._push():
            logging.warning("%s", error)
            return
        try:
            self._lease.give_back()
        except (InputError, Resumable) as error:
            logging.warning("%s", error)

    def _beat(self) -> None:
        while not self._is_over.wait(lease_lib.BEAT_EVERY_S):
            try:
                self._lease.beat()
            except lease_lib.LeaseLost:
                _leave_to_another()
            except (InputError, Resumable):
                pass  # The pushes tell of it.

    def _follow(self) -> None:
        pushed, at, is_troubled = None, -PUSH_EVERY_S, False
        while not self._is_over.wait(_LOOK_EVERY_S):
            newest, since = self._newest(), time.monotonic() - at
            if is_troubled and since < _AGAIN_AFTER_S:
                continue
            if newest == pushed and since < PUSH_EVERY_S:
                continue
            error = self._push()
            if error and not is_troubled:
                logging.warning("%s Training goes on, and it is tried again.", error)
            if is_troubled and not error:
                logging.info("the bucket is up to date again")
            is_troubled, at = bool(error), time.monotonic()
            pushed = pushed if error else newest

    def _push(self) -> str:
        """Why the bucket is not up to date, or ""."""
        with self._lock:
            try:
                if not self._lease.is_fresh:  # This process slept, or was cut off.
                    self._lease.beat()
                self._mirror.push()
            except (PreconditionFailed, lease_lib.LeaseLost):
                _leave_to_another()
            except (InputError, Resumable) as error:
                return str(error)
            except OSError as error:
                return f"`--workdir` could not be read here ({error.strerror})."
        return ""


def _leave_to_another() -> None:
    exit_now(
        EXIT_RESUME,
        "another run has taken the `--workdir` of this one, which it had not heard from; what that "
        "one writes is kept. Run the same command again to go on after it",
    )
