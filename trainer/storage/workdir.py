"""What lies where in a workdir, and whose is it?"""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import time
from collections.abc import Iterator

from absl import logging

from strategies.errors import Resumable
from trainer.config import load as config_load
from trainer.config import schema as config_lib
from trainer.config.schema import ExperimentConfig
from trainer.storage.atomic_files import WorkdirError, unwritable, write_whole

_LOOK_EVERY_S = 0.2


class Workdir:
    """The folder of one run. Files appear in it whole or not at all.

    `path` is where it lies on this machine, `name` what its user calls it.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.name = str(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.summary = self.path / "summary.json"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"

    def __str__(self) -> str:
        return self.name

    def make(self) -> None:
        """Makes the folder, unless it is there. Raises WorkdirError where it cannot be."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(self.path, error.strerror) from None

    def initialize(self, config: ExperimentConfig) -> None:
        """Makes the folder this config's, or finds that it is.

        Raises:
          WorkdirError: it was begun with another config, or cannot be written.
        """
        self.make()
        try:
            if self.config.exists():
                self._check_owner(self.read_config(), config)
            write_whole(self.config, config_lib.to_json(config))
        except OSError as error:
            raise unwritable(self.path, error.strerror) from None

    @contextlib.contextmanager
    def lock(self, timeout_s: float) -> Iterator[None]:
        """While the body runs the folder is this process's. Raises as `acquire_lock` does."""
        lock = self.acquire_lock(timeout_s)
        try:
            yield
        finally:
            os.close(lock)

    def flush(self) -> None:
        """Returns once all that was written until now lies where it shall stay; held meanwhile.

        Raises Resumable where it cannot be brought there.
        """

    @contextlib.contextmanager
    def open_readonly(self) -> Iterator["Workdir"]:
        """This workdir, for who reads what another process writes there."""
        yield self

    def refresh(self) -> None:
        """Shows what has come meanwhile, and brings what an evaluator wrote where it shall stay."""

    def acquire_lock(self, timeout_s: float) -> int:
        """Keeps other runs out of the folder until the returned descriptor is closed.

        The system closes it with the process, however that ends. A run that was told to stop may still
        be saving here, so it is waited for.

        Raises:
          Resumable: another run has held it for `timeout_s`.
          WorkdirError: it cannot be written.
        """
        try:
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise unwritable(self.path, error.strerror) from None
        deadline, is_told = time.monotonic() + timeout_s, False
        while not _is_locked(lock):
            if not is_told:
                logging.info("waiting for the run that is still at work in %s", self.path)
                is_told = True
            if time.monotonic() > deadline:
                os.close(lock)
                raise Resumable(
                    "`--workdir` is another run's, which is still at work there. Received: "
                    f"{self.name!r}; end that run and run again, or choose another folder."
                )
            time.sleep(_LOOK_EVERY_S)
        return lock

    def examine(self, config: ExperimentConfig) -> str:
        """What `initialize` would find, without writing. Raises WorkdirError as it would."""
        try:
            if self.config.exists():
                self._check_owner(self.read_config(), config)
                return f"{self.path}: a run of this config, which would go on"
            place = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        except OSError as error:
            raise unwritable(self.path, error.strerror) from None
        if not place.is_dir() or not os.access(place, os.W_OK):
            raise unwritable(self.path, "no permission" if place.is_dir() else "a file is there")
        return f"{self.path}: {'there' if self.path.exists() else 'would be made'}"

    def _check_owner(self, begun: ExperimentConfig, config: ExperimentConfig) -> None:
        differing = [
            name
            for name in config_lib.differences(begun, config)
            if name not in config_lib.TRAJECTORY_FREE
        ]
        if differing:
            old, new = (config_lib.flatten(one)[differing[0]] for one in (begun, config))
            raise WorkdirError(
                f"`--workdir` was begun with another config: `{differing[0]}` was {old!r}. Received: "
                f"{new!r} for {self.name!r}; choose another folder, or give the old value."
            )

    def finished_steps(self) -> int:
        """How many steps the run has taken that its summary tells of; 0 without a summary."""
        try:
            return int(json.loads(self.summary.read_text())["steps"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0  # None yet, or one that somebody damaged: the run is taken to go on.

    def read_config(self) -> ExperimentConfig:
        """The config the folder was begun with. Raises WorkdirError where there is none."""
        if not os.path.exists(self.config):  # Path.exists raises where the name is too long.
            raise WorkdirError(
                f"`--workdir` holds no run. Received: {self.name!r}; name a folder that "
                "`python -m trainer` wrote."
            )
        return config_load.resolve(str(self.config), {})


def saved_steps(checkpoints: pathlib.Path) -> list[int]:
    """The steps there are checkpoints of, in order, unverified."""
    names = (path.name for path in checkpoints.glob("step-*"))
    return sorted(int(name[5:]) for name in names if re.fullmatch(r"step-\d{10}", name))


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # A file system that knows no locks: then nobody can be kept out.
    return True
