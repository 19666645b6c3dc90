"""What is a workdir at `gs://bucket/folder`?

A folder on this machine, as any other workdir, that the bucket is made to follow. What the bucket holds
is fetched first, unless this machine was the last to write there; so a run goes on on any machine.
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
from trainer.storage.remote.errors import PreconditionFailed
from trainer.storage.remote.gcs import Address, Objects
from trainer.storage.remote.lease import Lease
from trainer.storage.remote.mirror import Mirror
from trainer.storage.remote.uploader import Keeper
from trainer.storage.workdir import Workdir, saved_steps

SETTLE_S = 90.0  # Less than the others of a cluster wait for its leader's end.
REFRESH_EVERY_S = 3.0  # Of who follows. A bucket bills by the request.
_CONFIG = "config.json"
_HOLDER = ".holder"  # Files here: by what name its runs hold the folder there,
_RECORD = ".bucket.json"  # and what was last alike.
_OF_EVALUATORS = re.compile(r"evaluator\.jsonl|tensorboard/evaluator/.*")


class BucketWorkdir(Workdir):
    """The workdir of a task that trains, or of a sweep; `path` is its folder on this machine."""

    def __init__(self, url: str):
        self._address = Address.parse(url)
        super().__init__(local_copy.folder_of(self._address))
        self.name = str(self._address)
        self._objects = Objects(self._address)
        self._config: ExperimentConfig | None = None
        self._keeper: Keeper | None = None

    def __str__(self) -> str:
        return f"{self.name} (on this machine, meanwhile, {self.path})"

    def make(self) -> None:
        local_copy.make_root()
        super().make()

    def initialize(self, config: ExperimentConfig) -> None:
        """Finds that the folder there can be this config's; it becomes so once it is held."""
        self._find(config)
        self._config = config

    def examine(self, config: ExperimentConfig) -> str:
        found, lacking = self._find(config), self._objects.lacking()
        if not lacking:
            return f"{self.name}: {found}"
        return (
            f"{self.name}: {found}; warning: in the bucket as a whole you lack {', '.join(lacking)}"
        )

    def _find(self, config: ExperimentConfig) -> str:
        there = self._objects.generations()
        if _CONFIG not in there:
            return "there" if there else "would be made"
        try:
            begun = self._objects.read(_CONFIG, there[_CONFIG])
        except PreconditionFailed:
            return "there"  # It is written in this moment, and looked at once it is held.
        self._check_owner(config_load.from_json(begun.decode(errors="replace")), config)
        return "a run of this config, which would go on"

    @contextlib.contextmanager
    def lock(self, timeout_s: float) -> Iterator[None]:
        """While the body runs the folder is this process's, here and there, and there follows here.

        Raises:
          Resumable: another run has held it for `timeout_s`, or the bucket does not answer.
          WorkdirError, BucketError: it cannot be written, or is not this config's.
        """
        began = time.monotonic()
        self.make()
        with super().lock(timeout_s):
            holder = self._holder() or secrets.token_hex(16)
            lease = Lease(self._objects, holder)
            is_newest = lease.take(timeout_s - (time.monotonic() - began))
            try:
                mirror = self._made_alike(is_newest, holder)
                if self._config:
                    super().initialize(self._config)
            except BaseException as error:
                _give_back(lease)
                if isinstance(error, OSError):
                    raise unwritable(self.path, error.strerror) from None
                if isinstance(error, PreconditionFailed):
                    raise Resumable(
                        f"`--workdir` is written by somebody else. Received: {self.name}; see that "
                        "nobody does, and run again."
                    ) from None
                raise
            with Keeper(lease, mirror, self._newest) as self._keeper:
                yield

    def flush(self) -> None:
        self._keeper.flush(SETTLE_S)

    @contextlib.contextmanager
    def open_readonly(self) -> Iterator[Workdir]:
        """A copy of its own, so that it is not in the way of a run on this machine."""
        with tempfile.TemporaryDirectory(prefix="muster-") as folder:
            copy = _Copy(pathlib.Path(folder), self.name, self._objects)
            try:
                yield copy
            except BaseException:
                with contextlib.suppress(InputError, Resumable):
                    copy.bring_in()
                raise
            copy.bring_in()

    def _made_alike(self, is_newest: bool, holder: str) -> Mirror:
        mirror = Mirror(self.path, self._objects, _RECORD, _is_trainers)
        if is_newest and mirror.is_complete():
            mirror.adopt()
            return mirror
        # Until all is here, this is not the folder that was the last to be at work.
        (self.path / _HOLDER).unlink(missing_ok=True)
        logging.info("fetching what %s holds", self.name)
        for name in mirror.fetch():
            mirror.remove(name)
        write_whole(self.path / _HOLDER, holder)
        return mirror

    def _holder(self) -> str:
        """By which name the bucket knows this machine's folder, if it does."""
        try:
            return (self.path / _HOLDER).read_text()
        except OSError:
            return ""

    def _newest(self) -> object:
        """What changes with every checkpoint of a run, and with every trial of a sweep."""
        with contextlib.suppress(OSError):
            return (self.path / "ledger.jsonl").stat().st_size
        return saved_steps(self.checkpoints)


class _Copy(Workdir):
    """A copy to read from; what an evaluator writes into it is brought in."""

    def __init__(self, path: pathlib.Path, name: str, objects: Objects):
        super().__init__(path)
        self.name = name
        self._theirs = Mirror(path, objects, ".theirs.json", _is_trainers)
        self._own = Mirror(path, objects, ".own.json", _is_evaluators)
        self._theirs.fetch()
        self._own.fetch()
        self._refreshed = time.monotonic()

    def refresh(self) -> None:
        if time.monotonic() - self._refreshed < REFRESH_EVERY_S:
            return
        try:
            self._theirs.fetch()
            self.bring_in()
        except Resumable as error:
            logging.warning("%s", error)
        self._refreshed = time.monotonic()

    def bring_in(self) -> None:
        """What an evaluator wrote. Raises WorkdirError, BucketError, Unreachable."""
        try:
            self._own.push()
        except PreconditionFailed:
            raise WorkdirError(
                f"`--workdir` has another evaluator. Received: {self.name!r}; start one alone."
            ) from None


def _is_evaluators(name: str) -> bool:
    return bool(_OF_EVALUATORS.fullmatch(name))


def _is_trainers(name: str) -> bool:
    return not name.startswith(".") and not _is_evaluators(name)


def _give_back(lease: Lease) -> None:
    """After another failure, of which is told."""
    with contextlib.suppress(InputError, Resumable):
        lease.give_back()
