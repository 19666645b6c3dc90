"""When are a run's files uploaded to its bucket, and what if that fails?

Two threads work during the run. One renews the lease; the other uploads all changes after each new
checkpoint, and every `UPLOAD_EVERY_S` without one. A bucket that is unavailable does not stop the run:
the files stay on this machine and are uploaded once it answers, at the latest at the end of the run.
"""

import threading
import time
from collections.abc import Callable

from absl import logging

from strategies.errors import EXIT_RESUME, InputError, Resumable, os_reason
from trainer.process.signals import exit_now
from trainer.storage.remote import lease as lease_lib
from trainer.storage.remote.errors import PreconditionFailed
from trainer.storage.remote.lease import Lease
from trainer.storage.remote.mirror import Mirror

# Of metrics; checkpoints are uploaded at once. A bucket bills by the request.
UPLOAD_EVERY_S = 30.0
_POLL_EVERY_S = 0.5
_RETRY_AFTER_S = 5.0


class Uploader:
    """A context manager: inside it the bucket follows the folder, and the lease is renewed."""

    def __init__(self, lease: Lease, mirror: Mirror, progress: Callable[[], object]):
        """`progress` returns a value that changes with every checkpoint."""
        self._lease = lease
        self._mirror = mirror
        self._progress = progress
        self._lock = threading.Lock()  # One upload at a time.
        self._is_over = threading.Event()
        self._flush_failed = False
        self._threads = [
            threading.Thread(target=work, name=name, daemon=True)
            for name, work in (("lease", self._renew_lease), ("bucket", self._upload_changes))
        ]

    def flush(self, timeout_s: float) -> None:
        """Returns once the bucket has everything that was written before the call.

        Raises:
          Resumable: the upload did not succeed within `timeout_s`. The files stay on this machine.
        """
        deadline = time.monotonic() + timeout_s
        while error := self._upload():
            if time.monotonic() + _RETRY_AFTER_S > deadline:
                self._flush_failed = True
                raise Resumable(f"{error} What it lacks is kept on this machine.")
            time.sleep(_RETRY_AFTER_S)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        # If the bucket lacks files, the lease is kept: a run elsewhere would resume without them.
        if self._flush_failed:
            return
        if error := self._upload():
            logging.warning("%s", error)
            return
        try:
            self._lease.release()
        except (InputError, Resumable) as error:
            logging.warning("%s", error)

    def _renew_lease(self) -> None:
        while not self._is_over.wait(lease_lib.RENEW_EVERY_S):
            try:
                self._lease.renew()
            except lease_lib.LeaseLost:
                _exit_after_takeover()
            except (InputError, Resumable):
                pass  # The uploads fail too, and log it.

    def _upload_changes(self) -> None:
        uploaded, last, is_failing = None, -UPLOAD_EVERY_S, False
        while not self._is_over.wait(_POLL_EVERY_S):
            progress, since = self._progress(), time.monotonic() - last
            if is_failing and since < _RETRY_AFTER_S:
                continue
            if progress == uploaded and since < UPLOAD_EVERY_S:
                continue
            error = self._upload()
            if error and not is_failing:
                logging.warning("%s Training continues, and the upload is retried.", error)
            if is_failing and not error:
                logging.info("the bucket is up to date again")
            is_failing, last = bool(error), time.monotonic()
            uploaded = uploaded if error else progress

    def _upload(self) -> str:
        """The reason why the bucket is not up to date, or ""."""
        with self._lock:
            try:
                if not self._lease.is_valid:  # This process was suspended or disconnected.
                    self._lease.renew()
                self._mirror.push()
            except (PreconditionFailed, lease_lib.LeaseLost):
                _exit_after_takeover()
            except (InputError, Resumable) as error:
                return str(error)
            except OSError as error:
                return f"`--workdir` could not be read on this machine ({os_reason(error)})."
        return ""


def _exit_after_takeover() -> None:
    exit_now(
        EXIT_RESUME,
        "another run has taken over the `--workdir` of this one, whose lease had expired; what that run "
        "writes is kept. Run the same command again to resume after it",
    )
