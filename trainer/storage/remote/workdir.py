"""What is a workdir in a bucket, such as `gs://bucket/folder`?

A folder on this machine, like any other workdir, that is copied to the bucket again and again. Before a
run, what the bucket has is fetched, unless this machine was the last to write there; so a run resumes on
any machine.
"""

import contextlib
import pathlib
import re
import secrets
import tempfile
import time
from collections.abc import Iterator

from absl import logging

from strategies.errors import InputError, Resumable
from trainer.config import load as config_load
from trainer.config.schema import ExperimentConfig
from trainer.storage.atomic_files import WorkdirError, unwritable, write_whole
from trainer.storage.remote import local_copy
from trainer.storage.remote.address import Address
from trainer.storage.remote.bucket import Bucket
from trainer.storage.remote.errors import PreconditionFailed
from trainer.storage.remote.lease import Lease
from trainer.storage.remote.mirror import Mirror
from trainer.storage.remote.uploader import Uploader
from trainer.storage.workdir import EXISTS, WOULD_BE_CREATED, WOULD_RESUME, Workdir, saved_steps

FLUSH_TIMEOUT_S = 90.0  # Less than the peers in a cluster wait for their leader's end.
REFRESH_EVERY_S = 3.0  # For readers. A bucket bills by the request.
_CONFIG = "config.json"
_HOLDER = ".holder"  # A local file: the name by which this machine's runs hold the lease.
_RECORD = ".bucket.json"  # A local file: which files were last equal to their objects.
_EVALUATOR_FILES = re.compile(r"evaluator\.jsonl|tensorboard/evaluator/.*")


class BucketWorkdir(Workdir):
    """The workdir of a task that trains, or of a sweep; `path` is its folder on this machine."""

    def __init__(self, url: str):
        self._address = Address.parse(url)
        super().__init__(local_copy.folder_of(self._address))
        self.name = str(self._address)
        self._remote = self._address.open()
        self._config: ExperimentConfig | None = None
        self._uploader: Uploader | None = None

    def __str__(self) -> str:
        return f"{self.name} (local copy: {self.path})"

    def make(self) -> None:
        local_copy.create_root()
        super().make()

    @contextlib.contextmanager
    def claim(self, config: ExperimentConfig, timeout_s: float) -> Iterator[None]:
        self.initialize(config)
        with self.lock(timeout_s):
            yield

    def initialize(self, config: ExperimentConfig) -> None:
        """Checks that the folder can become this config's; it does so once it is locked."""
        self._inspect(config)
        self._config = config

    def examine(self, config: ExperimentConfig) -> str:
        found, warning = self._inspect(config), self._remote.permissions_warning()
        return f"{self.name}: {found}" + (f"; warning: {warning}" if warning else "")

    def _inspect(self, config: ExperimentConfig) -> str:
        objects = self._remote.versions()
        if _CONFIG not in objects:
            return EXISTS if objects else WOULD_BE_CREATED
        try:
            text = self._remote.read(_CONFIG, objects[_CONFIG])
        except PreconditionFailed:
            return EXISTS  # It is being written, and checked once the folder is locked.
        self._check_owner(config_load.from_json(text.decode(errors="replace")), config)
        return WOULD_RESUME

    @contextlib.contextmanager
    def lock(self, timeout_s: float) -> Iterator[None]:
        """Inside it the folder belongs to this process, locally and in the bucket, and is uploaded.

        Raises:
          Resumable: another run has held it for `timeout_s`, or the bucket does not answer.
          WorkdirError, BucketError: it cannot be written, or belongs to another config.
        """
        began = time.monotonic()
        self.make()
        with super().lock(timeout_s):
            holder = self._read_holder() or secrets.token_hex(16)
            lease = Lease(self._remote, holder)
            was_last = lease.acquire(timeout_s - (time.monotonic() - began))
            try:
                mirror = self._synchronize(was_last, holder)
                if self._config:
                    super().initialize(self._config)
            except BaseException as error:
                _release_after_error(lease)
                if isinstance(error, OSError):
                    raise unwritable(self.path, error) from None
                if isinstance(error, PreconditionFailed):
                    raise Resumable(
                        "`--workdir` must be written by one run at a time. Received: "
                        f"{self.name}, which another program writes to; stop that, and run the same "
                        "command again."
                    ) from None
                raise
            with Uploader(lease, mirror, self._progress) as self._uploader:
                yield

    def flush(self) -> None:
        assert self._uploader is not None  # The caller has locked the folder.
        self._uploader.flush(FLUSH_TIMEOUT_S)

    @contextlib.contextmanager
    def open_readonly(self) -> Iterator[Workdir]:
        """A separate copy, so that a run on this machine is not disturbed."""
        with tempfile.TemporaryDirectory(prefix="muster-") as folder:
            copy = _ReadOnlyCopy(pathlib.Path(folder), self.name, self._remote)
            try:
                yield copy
            except BaseException:
                with contextlib.suppress(InputError, Resumable):
                    copy.upload()
                raise
            copy.upload()

    def _synchronize(self, was_last: bool, holder: str) -> Mirror:
        """Makes the bucket's folder and the local one the same, by the newer of the two."""
        mirror = Mirror(self.path, self._remote, _RECORD, _is_trainer_file)
        if was_last and mirror.is_complete():
            mirror.trust_local()
            return mirror
        # Until everything is fetched, this must not count as the folder of the last holder.
        (self.path / _HOLDER).unlink(missing_ok=True)
        logging.info("fetching what %s holds", self.name)
        for name in mirror.fetch():
            mirror.remove_remote(name)
        write_whole(self.path / _HOLDER, holder)
        return mirror

    def _read_holder(self) -> str:
        """The name by which this machine's folder held the lease, or ""."""
        try:
            return (self.path / _HOLDER).read_text()
        except OSError:
            return ""

    def _progress(self) -> object:
        """A value that changes with every checkpoint of a run, and every trial of a sweep."""
        with contextlib.suppress(OSError):
            return (self.path / "ledger.jsonl").stat().st_size
        with contextlib.suppress(InputError):  # A save reports what is wrong with it.
            return saved_steps(self.checkpoints)
        return None


class _ReadOnlyCopy(Workdir):
    """A copy for readers. Only the files that an evaluator writes into it are uploaded."""

    def __init__(self, path: pathlib.Path, name: str, remote: Bucket):
        super().__init__(path)
        self.name = name
        self._trainer_files = Mirror(path, remote, ".theirs.json", _is_trainer_file)
        self._evaluator_files = Mirror(path, remote, ".own.json", _is_evaluator_file)
        self._trainer_files.fetch()
        self._evaluator_files.fetch()
        self._refreshed = time.monotonic()

    def refresh(self) -> None:
        if time.monotonic() - self._refreshed < REFRESH_EVERY_S:
            return
        try:
            self._trainer_files.fetch()
            self.upload()
        except Resumable as error:
            logging.warning("%s", error)
        self._refreshed = time.monotonic()

    def upload(self) -> None:
        """Uploads what an evaluator wrote. Raises WorkdirError, BucketError, BucketUnavailable."""
        try:
            self._evaluator_files.push()
        except PreconditionFailed:
            raise WorkdirError(
                "`--workdir` must have a single evaluator. Received: "
                f"{self.name!r}, which has another; stop one of them."
            ) from None


def _is_evaluator_file(name: str) -> bool:
    return bool(_EVALUATOR_FILES.fullmatch(name))


def _is_trainer_file(name: str) -> bool:
    return not name.startswith(".") and not _is_evaluator_file(name)


def _release_after_error(lease: Lease) -> None:
    """That error is reported, not one of the release."""
    with contextlib.suppress(InputError, Resumable):
        lease.release()
