"""What was the state of the run at a step, and can it be trusted?

A checkpoint is a folder: `arrays.npz`, the weights and optimizer slots by name, and `manifest.json`,
the step, the metrics so far, the config and the sha256 of the arrays, under a seal of its own. It is
written beside its place, flushed to the disk and renamed into it, and leaves it by a rename too, so it
is whole or absent; it is verified when read, and one that fails, or is of another run, is named and
passed over for the one before. Nothing in it is code.
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import math
import os
import pathlib
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from strategies.errors import InputError
from strategies.runtime import NUM_SUMS, State
from trainer.storage.workdir import saved_steps

_ARRAYS = "arrays.npz"
_MANIFEST = "manifest.json"
_FORMAT = 2
_BUILDING, _REMOVING = ".building-", ".removing-"


class CheckpointError(InputError):
    """A checkpoint is damaged, or cannot be written or found."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A run after `step` steps.

    `metrics` are those of its last report, `sums` those of the steps since then; `test` are those of
    the test set, if it was evaluated at this step. `skipped` are the steps that were left out, `threads`
    those of the process that saved it.
    """

    step: int
    state: State
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    sums: tuple[float, ...] = (0.0,) * NUM_SUMS
    test: dict[str, float] | None = None
    skipped: tuple[int, ...] = ()
    threads: int = 0


@dataclasses.dataclass(frozen=True)
class Layout:
    """The names of the arrays: `weights[i]`, and `slots[i]` of the same weight."""

    weights: list[str]
    slots: list[list[str]]

    def named(self, state: State) -> dict[str, np.ndarray]:
        named = dict(zip((f"weights/{name}" for name in self.weights), state.weights, strict=True))
        for name, slots, arrays in zip(self.weights, self.slots, state.slots, strict=True):
            named |= dict(zip((f"optimizer/{name}/{slot}" for slot in slots), arrays, strict=True))
        return named

    def state(self, named: dict[str, np.ndarray]) -> State:
        weights = [named[f"weights/{name}"] for name in self.weights]
        slots = [
            [named[f"optimizer/{name}/{slot}"] for slot in own]
            for name, own in zip(self.weights, self.slots, strict=True)
        ]
        return State(weights, slots)


class CheckpointStore:
    """The checkpoints of one run, in one folder: the newest `keep` of them and, maybe, the best.

    `origin` is what makes a run this one: what was saved under another origin is not read.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        layout: Layout,
        keep: int,
        keep_best: bool = False,
        origin: Mapping[str, Any] | None = None,
    ):
        self._folder = folder
        self._layout = layout
        self._keep = keep
        self._keep_best = keep_best
        self._origin = json.loads(json.dumps(dict(origin or {})))

    def save(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint, then removes the oldest. Raises CheckpointError; older ones stay."""
        buffer = io.BytesIO()
        np.savez(buffer, **self._layout.named(checkpoint.state))
        manifest = {
            "format": _FORMAT,
            "step": checkpoint.step,
            "metrics": checkpoint.metrics,
            "sums": checkpoint.sums,
            "test": checkpoint.test,
            "skipped": checkpoint.skipped,
            "threads": checkpoint.threads,
            "origin": self._origin,
            "sha256": {_ARRAYS: hashlib.sha256(buffer.getbuffer()).hexdigest()},
        }
        manifest["seal"] = _seal(manifest)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._place(checkpoint.step, buffer.getbuffer(), json.dumps(manifest, indent=2))
        except OSError as error:
            raise CheckpointError(
                f"`--workdir` took no checkpoint of step {checkpoint.step} ({error.strerror}). "
                f"Received: {str(self._folder)!r}; make room there and run the same command again."
            ) from None
        self._remove_oldest(checkpoint.step)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; those newer that are not are named in the log."""
        return self._first_whole(self.steps()[::-1], "Going on from the one before.")

    def read(self, step: int) -> Checkpoint:
        """The checkpoint of one step. Raises CheckpointError where it is missing or damaged."""
        folder = self._folder / _name(step)
        try:
            manifest = _manifest((folder / _MANIFEST).read_bytes())
            self._check_origin(manifest["origin"])
            arrays = (folder / _ARRAYS).read_bytes()
            if hashlib.sha256(arrays).hexdigest() != manifest["sha256"][_ARRAYS]:
                raise ValueError("its checksum differs")
            if manifest["step"] != step:
                raise ValueError(f"it is of step {manifest['step']}")
            return Checkpoint(
                step,
                self._layout.state(_arrays(arrays)),
                manifest["metrics"],
                tuple(manifest["sums"]),
                manifest["test"],
                tuple(manifest["skipped"]),
                manifest["threads"],
            )
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise CheckpointError(
                f"the checkpoint {str(folder)!r} cannot be used: {_why(error)}."
            ) from None

    def best(self) -> Checkpoint | None:
        """The whole checkpoint with the lowest test loss, of those that were evaluated."""
        return self._first_whole(self._by_test_loss(), "Taking the next best.")

    def steps(self) -> list[int]:
        """The steps there are checkpoints of, in order, unverified."""
        return saved_steps(self._folder)

    def _first_whole(self, steps: Sequence[int], instead: str) -> Checkpoint | None:
        for step in steps:
            try:
                return self.read(step)
            except CheckpointError as error:
                logging.warning("%s %s", error, instead)
        return None

    def _check_origin(self, origin: Mapping[str, Any]) -> None:
        for name in sorted({*origin} | {*self._origin}):
            if origin.get(name) != self._origin.get(name):
                raise ValueError(
                    f"it is of another run, whose `{name}` was {origin.get(name)!r}, not "
                    f"{self._origin.get(name)!r}"
                )

    def _by_test_loss(self) -> list[int]:
        """The steps whose manifests tell of a test loss, the lowest first."""
        losses = {}
        for step in self.steps():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                manifest = _manifest((self._folder / _name(step) / _MANIFEST).read_bytes())
                self._check_origin(manifest["origin"])
                losses[step] = float(manifest["test"]["loss"])
        finite = [step for step, loss in losses.items() if math.isfinite(loss)]
        return sorted(finite, key=losses.__getitem__)

    def _place(self, step: int, arrays: memoryview, manifest: str) -> None:
        building = tempfile.mkdtemp(dir=self._folder, prefix=_BUILDING)
        try:
            _write(os.path.join(building, _ARRAYS), arrays)
            _write(os.path.join(building, _MANIFEST), manifest.encode())
            os.chmod(building, 0o755)
            self._remove(step)  # A damaged one of this step, passed over.
            os.rename(building, self._folder / _name(step))
        finally:
            shutil.rmtree(building, ignore_errors=True)
        _flush_folder(self._folder)

    def _remove_oldest(self, newest: int) -> None:
        best = self._by_test_loss()[:1] if self._keep_best else []
        # Later steps were passed over as damaged, so they do not count as kept.
        for step in [step for step in self.steps() if step <= newest][: -self._keep]:
            if step not in best:
                self._remove(step)
        for prefix in (_BUILDING, _REMOVING):
            for leftover in self._folder.glob(f"{prefix}*"):
                _delete(leftover)  # Of a save that was killed.

    def _remove(self, step: int) -> None:
        """Out of its place in one move: a removal that is killed leaves no half checkpoint there."""
        leaving = self._folder / f"{_REMOVING}{_name(step)}"
        _delete(leaving)
        with contextlib.suppress(OSError):
            os.rename(self._folder / _name(step), leaving)
        _delete(leaving)


def _name(step: int) -> str:
    return f"step-{step:010d}"


def _seal(manifest: dict[str, Any]) -> str:
    """sha256 over everything else in a manifest."""
    rest = {name: value for name, value in manifest.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _manifest(data: bytes) -> dict[str, Any]:
    manifest = json.loads(data)
    if not isinstance(manifest, dict) or manifest.get("seal") != _seal(manifest):
        raise ValueError("its manifest is damaged")
    if manifest["format"] != _FORMAT:
        raise ValueError(f"its format is {manifest['format']}, and {_FORMAT} is what is read here")
    return manifest


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise ValueError("it holds no arrays")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy hands out what it cannot read as bytes.
            raise ValueError(f"{name} is no array")
    return arrays


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it holds no {error}"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def _delete(path: pathlib.Path) -> None:
    """Removes a checkpoint, or whatever somebody has put in its place."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _write(path: str, data: bytes | memoryview) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: pathlib.Path) -> None:
    """Makes the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
