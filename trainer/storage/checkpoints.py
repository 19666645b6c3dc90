"""What was the state of the run at a step, and can it be trusted?

A checkpoint is a folder with two files. `arrays.npz` has weights, optimizer slots and layer state by
name; `manifest.json` has the step, the metrics, the config and the sha256 of the arrays, and a seal: the
sha256 of the manifest itself. A checkpoint is written as a whole and verified when it is read. One that
is damaged, or belongs to another run, is reported and skipped: the one before it is used. Nothing in a
checkpoint is code.

The format has a version, an integer in the manifest, and this policy:

- A checkpoint of the last release is read. A manifest without `format` is one of format 2.
- A field that a manifest lacks has its default, and so has a config field that the run's version did not
  have yet. So a new field needs a default that means what the program did before it; if there is no such
  value, the format must be increased.
- Fields that are unknown here are ignored. So the format must also be increased for a new field that must
  not be ignored. As long as both have the same format, the last release reads what this one writes.
- A checkpoint of a format that is not read here ends the command with one line, which names the version
  that wrote it and what to do. It is not skipped: a run that resumed from the checkpoint before it would
  overwrite it. (Programs from before this policy skip it.)
- `format`, `program` (the version that wrote it) and `seal` keep their meaning in all formats, so that
  damage can always be distinguished from another format.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from strategies.errors import InputError, os_reason
from strategies.state import State
from trainer import __version__
from trainer.storage import atomic_folder, npz, safe_reading
from trainer.storage import manifest as manifest_lib
from trainer.storage.layout import Layout
from trainer.storage.manifest import UnsupportedFormatError
from trainer.storage.workdir import saved_steps, unreadable

_ARRAYS = "arrays.npz"


class CheckpointError(InputError):
    """A checkpoint is damaged, or cannot be written or found."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A run after `step` steps.

    Attributes:
      metrics: those of the last report.
      sums: those of the steps since the last report.
      test: the metrics of the split that is evaluated during the run, if it was at this step: of the
        validation split, or of the test split where there is none.
      skipped: the steps whose batches were skipped.
      threads: the number of threads of the process that saved it; 0: unknown.
      best: the best evaluation so far, where the run may stop early: its value, its step and the number
        of evaluations since. The checkpoint of that step is kept.
      seconds: how long the run has trained, over all its starts.
    """

    step: int
    state: State
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    sums: tuple[float, ...] = ()
    test: dict[str, float] | None = None
    skipped: tuple[int, ...] = ()
    threads: int = 0
    best: tuple[float, int, int] | None = None
    seconds: float = 0.0


class CheckpointStore:
    """The checkpoints of one run, in one folder: the newest `keep` of them and, maybe, the best.

    `origin` identifies the run: a checkpoint that was saved under another origin is not read. A part of
    it that is None is not compared. `defaults` are the values of those parts of an origin that a
    checkpoint may lack, as its program had none. `lazily`: arrays are read when they are used.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        layout: Layout,
        keep: int,
        keep_best: bool = False,
        origin: Mapping[str, Any] | None = None,
        defaults: Mapping[str, Any] | None = None,
        lazily: bool = False,
    ):
        self._lazily = lazily
        self._folder = folder
        self._layout = layout
        self._keep = keep
        self._keep_best = keep_best
        self._origin = _as_json(origin or {})
        self._defaults = _as_json({name: (defaults or {}).get(name) for name in self._origin})

    def save(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint, then removes the oldest. Raises CheckpointError; older ones stay."""
        digests: dict[str, str] = {}

        def write_arrays(file: io.BufferedRandom) -> None:
            # Array by array: some may arrive from other tasks only now, and the whole need not fit here.
            np.savez(file, **self._layout.named(checkpoint.state))  # type: ignore[arg-type]
            file.seek(0)
            digests[_ARRAYS] = hashlib.file_digest(file, "sha256").hexdigest()

        def write_manifest(file: io.BufferedRandom) -> None:
            file.write(self._manifest(checkpoint, digests).encode())

        files = {_ARRAYS: write_arrays, manifest_lib.NAME: write_manifest}
        try:
            atomic_folder.write(self._path(checkpoint.step), files)
        except OSError as error:
            raise CheckpointError(
                f"`--workdir` could not store the checkpoint of step {checkpoint.step} "
                f"({os_reason(error)}). Received: {str(self._folder)!r}; fix this and run the same "
                "command again to resume."
            ) from None
        self._remove_oldest(checkpoint.step, [checkpoint.best[1]] if checkpoint.best else [])

    def _manifest(self, checkpoint: Checkpoint, digests: dict[str, str]) -> str:
        return manifest_lib.to_json(
            {
                "step": checkpoint.step,
                "metrics": checkpoint.metrics,
                "sums": checkpoint.sums,
                "test": checkpoint.test,
                "skipped": checkpoint.skipped,
                "threads": checkpoint.threads,
                "best": checkpoint.best,
                "seconds": checkpoint.seconds,
                "origin": self._origin,
                "sha256": digests,
            }
        )

    def remove_leftovers(self) -> None:
        """Deletes what a killed save left behind. Call it while the run's folder is locked."""
        atomic_folder.remove_leftovers(self._folder)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is intact; newer ones that are damaged are logged.

        Raises UnsupportedFormatError where a newer one has another format.
        """
        return self._first_intact(self.steps()[::-1], "Using the one before it.")

    def best(self) -> Checkpoint | None:
        """The intact checkpoint with the lowest test loss, of those that were evaluated.

        Raises UnsupportedFormatError where one has another format, as that may be the best.
        """
        for step in self.steps():
            try:
                manifest_lib.read(self._path(step))
            except UnsupportedFormatError:
                raise
            except (OSError, ValueError):
                pass  # Damaged, and skipped below.
        return self._first_intact(self._by_test_loss(), "Using the next best.")

    def read(self, step: int) -> Checkpoint:
        """The checkpoint of one step.

        Raises:
          CheckpointError: it is missing, damaged or of another run.
          UnsupportedFormatError: it has a format that is not read here.
          WorkdirError: it cannot be read, so that nothing is known about it.
        """
        path = self._path(step)
        try:
            return self._read(path, step)
        except UnsupportedFormatError:
            raise
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            if isinstance(error, OSError) and not safe_reading.is_damage(error):
                raise unreadable(path, error) from None
            raise CheckpointError(
                f"the checkpoint {str(path)!r} cannot be used: {_reason(error)}."
            ) from None

    def steps(self) -> list[int]:
        """The steps of all checkpoints, in order, unverified."""
        return saved_steps(self._folder)

    def _path(self, step: int) -> pathlib.Path:
        return self._folder / f"step-{step:010d}"

    def _read(self, path: pathlib.Path, step: int) -> Checkpoint:
        manifest = manifest_lib.read(path)
        self._check_origin(manifest["origin"])
        expected = self._layout.expected()
        with contextlib.ExitStack() as stack:
            file = safe_reading.open_file(path / _ARRAYS, npz.max_file_bytes(expected))
            stack.callback(file.close)
            if hashlib.file_digest(file, "sha256").hexdigest() != manifest["sha256"][_ARRAYS]:
                raise ValueError("its checksum differs")
            read: Callable = npz.read_lazily if self._lazily else npz.read
            state = self._layout.state(read(file, expected))
            if self._lazily:
                stack.pop_all()  # The arrays keep it open.
        if manifest["step"] != step:
            raise ValueError(f"it is of step {manifest['step']}")
        manifest_lib.check_types(manifest)
        return Checkpoint(
            step,
            state,
            manifest["metrics"],
            tuple(map(float, manifest["sums"])),
            manifest["test"],
            tuple(manifest["skipped"]),
            manifest["threads"],
            manifest["best"] and tuple(manifest["best"]),
            manifest["seconds"],
        )

    def _first_intact(self, steps: Sequence[int], instead: str) -> Checkpoint | None:
        for step in steps:
            try:
                return self.read(step)
            except CheckpointError as error:
                logging.warning("%s %s", error, instead)
        return None

    def _check_origin(self, origin: Mapping[str, Any]) -> None:
        saved = self._defaults | {**origin}
        for name in sorted(saved):
            if name not in self._origin:
                raise ValueError(
                    f"it is of another run, whose `{name}` was {saved[name]!r}; muster {__version__} "
                    "has no such field"
                )
            if self._origin[name] not in (None, saved[name]):
                raise ValueError(
                    f"it is of another run, whose `{name}` was {saved[name]!r}, not "
                    f"{self._origin[name]!r}"
                )

    def _by_test_loss(self) -> list[int]:
        """The steps with a test loss in their manifests, the lowest loss first."""
        losses = {}
        for step in self.steps():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                manifest = manifest_lib.read(self._path(step))
                self._check_origin(manifest["origin"])
                losses[step] = float(manifest["test"]["loss"])
        finite = [step for step, loss in losses.items() if math.isfinite(loss)]
        return sorted(finite, key=losses.__getitem__)

    def _remove_oldest(self, newest: int, also_kept: list[int]) -> None:
        best = also_kept + (self._by_test_loss()[:1] if self._keep_best else [])
        # Later steps were skipped as damaged, so they do not count as kept.
        for step in [step for step in self.steps() if step <= newest][: -self._keep]:
            if step not in best:
                atomic_folder.remove(self._path(step))
        self.remove_leftovers()


def _as_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """The value as it is read back from JSON: tuples are lists."""
    return json.loads(json.dumps({**value}))


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
