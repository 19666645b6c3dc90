"""Which files does a workdir have, and which run may use it?

`Workdir` names the files, ties the folder to one config, and locks it for one run at a time. A run locks
the folder, then looks what is there, and writes only then.
"""

import contextlib
import fcntl
import os
import pathlib
import re
import time
from collections.abc import Iterator
from typing import Any

from absl import logging

from strategies.errors import Resumable, os_reason
from trainer.config import load as config_load
from trainer.config import schema as config_lib
from trainer.config.schema import ExperimentConfig
from trainer.storage.atomic_files import (
    WorkdirError,
    make_folder,
    remove_leftovers,
    unwritable,
    write_whole,
)
from trainer.storage.outputs import check_outputs
from trainer.storage.safe_reading import is_damage, read_object

# What `examine` finds.
WOULD_BE_CREATED, EXISTS = "would be created", "exists"
WOULD_RESUME = "a run of this config, which would resume"
_POLL_EVERY_S = 0.2


class Workdir:
    """The folder of one run. A file appears in it as a whole or not at all.

    `path` is its place on this machine, `name` is how the user named it.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.name = str(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.jsonl"
        self.summary = self.path / "summary.json"
        self.report = self.path / "report.html"
        self.report_facts = self.path / "report.json"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.partition = self.path / "partition"

    def __str__(self) -> str:
        return self.name

    def make(self) -> None:
        """Creates the folder unless it exists. Raises WorkdirError if that fails."""
        try:
            make_folder(self.path)
        except OSError as error:
            raise unwritable(self.path, error) from None

    @contextlib.contextmanager
    def claim(self, config: ExperimentConfig, timeout_s: float) -> Iterator[None]:
        """Inside it the folder belongs to this process and config. It is created if it is missing.

        Raises:
          Resumable: another run has held it for `timeout_s`.
          WorkdirError: it belongs to another config, or cannot be read or written.
        """
        self.make()
        self.examine(config)  # A folder of another config is refused at once, and not after a wait.
        with self.lock(timeout_s):
            self.initialize(config)
            yield

    def initialize(self, config: ExperimentConfig) -> None:
        """Creates the folder for this config, or checks that it belongs to it. Call it while locked.

        Raises:
          WorkdirError: it belongs to another config, or cannot be written.
        """
        self.make()
        try:
            check_outputs(self.path)
            if self._has_config():
                self._check_owner(self.read_config(), config)
            write_whole(self.config, config_lib.to_json(config))
        except OSError as error:
            raise unwritable(self.path, error) from None

    @contextlib.contextmanager
    def lock(self, timeout_s: float) -> Iterator[None]:
        """Inside it the folder belongs to this process. Raises as `acquire_lock` does."""
        lock = self.acquire_lock(timeout_s)
        try:
            remove_leftovers(self.path)
            yield
        finally:
            os.close(lock)

    def flush(self) -> None:
        """Returns once everything written so far is in permanent storage. Call it while locked.

        Raises Resumable if it cannot be stored.
        """

    @contextlib.contextmanager
    def open_readonly(self) -> Iterator["Workdir"]:
        """This workdir for a process that only reads what another one writes there."""
        yield self

    def refresh(self) -> None:
        """Fetches what is new, and stores what an evaluator wrote. Nothing to do in a local folder."""

    def acquire_lock(self, timeout_s: float) -> int:
        """Locks the folder for this run until the returned descriptor is closed.

        The system closes it when the process ends, however it ends. Waits for another run to release
        the folder, as a run that was asked to stop may still be saving there.

        Raises:
          Resumable: another run has held it for `timeout_s`.
          WorkdirError: it cannot be written.
        """
        try:
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise unwritable(self.path, error) from None
        deadline, is_logged = time.monotonic() + timeout_s, False
        while not _is_locked(lock):
            if not is_logged:
                logging.info("waiting for the run that uses %s", self.path)
                is_logged = True
            if time.monotonic() > deadline:
                os.close(lock)
                raise Resumable(
                    f"`--workdir` is in use by another run. Received: {self.name!r}; stop that run and "
                    "run the same command again, or choose another folder."
                )
            time.sleep(_POLL_EVERY_S)
        return lock

    def examine(self, config: ExperimentConfig) -> str:
        """What `initialize` would find, in words. Writes nothing; raises WorkdirError as it would."""
        try:
            check_outputs(self.path)
            if self._has_config():
                self._check_owner(self.read_config(), config)
                return f"{self.path}: {WOULD_RESUME}"
            nearest = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        except OSError as error:
            raise unwritable(self.path, error) from None
        if not nearest.is_dir():
            raise unwritable(self.path, "a file is there")
        if not os.access(nearest, os.W_OK):
            raise unwritable(self.path, "no permission")
        return f"{self.path}: {EXISTS if self.path.exists() else WOULD_BE_CREATED}"

    def _check_owner(self, begun: ExperimentConfig, config: ExperimentConfig) -> None:
        differing = [
            name
            for name in config_lib.differences(begun, config)
            if name not in config_lib.trajectory_free(begun)
        ]
        if differing:
            old, new = (config_lib.flatten(one)[differing[0]] for one in (begun, config))
            raise WorkdirError(
                f"`--workdir` was begun with another config: `{differing[0]}` was {old!r}. Received: "
                f"{new!r} for {self.name!r}; choose another folder, or use the old value."
            )

    def finished_steps(self) -> int:
        """The number of steps in the summary of a finished run; 0 without a summary."""
        try:
            return int(self.read_summary()["steps"])
        except (ValueError, KeyError, TypeError, OverflowError):
            return 0

    def read_summary(self) -> dict[str, Any]:
        """The summary of a finished run; empty without one, or with a damaged one."""
        return read_object(self.summary)

    def read_config(self) -> ExperimentConfig:
        """The config of the run in the folder. Raises WorkdirError if it has none."""
        if not self._has_config():
            raise WorkdirError(
                f"`--workdir` holds no run. Received: {self.name!r}; name a folder that "
                "`python -m trainer` wrote."
            )
        if self.config.exists() and not self.config.is_file():  # To read a pipe would wait.
            raise WorkdirError(
                f"`--workdir` must have a config.json that is a file. Received: {self.name!r}; name a "
                "folder that `python -m trainer` wrote."
            )
        return config_load.resolve(str(self.config), {})

    def _has_config(self) -> bool:
        """Whether a file is there, or anything else that a run would have to replace.

        Raises WorkdirError where it cannot be found out.
        """
        try:
            os.lstat(self.config)
        except OSError as error:
            if not is_damage(error):
                raise unreadable(self.config, error) from None
            return False
        return True


def unreadable(path: pathlib.Path, error: OSError) -> WorkdirError:
    """The error for a file or folder that is there and cannot be read."""
    return WorkdirError(
        f"`--workdir` cannot be read ({os_reason(error)}). Received: {str(path)!r}; make it readable, or "
        "choose another folder. Nothing in it was changed."
    )


def saved_steps(checkpoints: pathlib.Path) -> list[int]:
    """The steps of all checkpoints in a folder, in order, unverified; none where the folder is missing.

    Raises WorkdirError where the folder cannot be listed: that does not mean that it is empty.
    """
    try:
        names = os.listdir(checkpoints)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not checkpoints.is_symlink():
            return []
        raise unreadable(checkpoints, error) from None
    return sorted(int(name[5:]) for name in names if re.fullmatch(r"step-\d{10}", name))


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # A file system without locks: other runs cannot be detected.
    return True
