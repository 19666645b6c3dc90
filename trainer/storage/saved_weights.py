"""Which weights are stored in a run's folder, in a checkpoint or in a file of Keras?

`read` returns them by name, as a checkpoint names them: "hidden_1/kernel". Of a run it takes the
checkpoint with the lowest loss of those that were evaluated, else the newest. Where an optimizer kept
averages of the weights, it takes these, as evaluations do.
"""

import contextlib
import dataclasses
import hashlib
import io
import math
import pathlib
import sys
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import logging

from strategies.errors import InputError, os_reason
from trainer.config.fields import short_json
from trainer.storage import keras_file, locate, manifest, npz, safe_reading
from trainer.storage.keras_file import Layers
from trainer.storage.workdir import saved_steps

_ARRAYS = "arrays.npz"
_AVERAGE = "_average"  # What Keras adds to a weight's name.


class SavedWeightsError(InputError):
    """The source of the initial weights is missing, damaged or of another kind."""


@dataclasses.dataclass(frozen=True, eq=False)
class SavedWeights:
    """What a source holds.

    Attributes:
      source: as the user named it.
      description: of what was read.
      sha256: of the file with the weights.
      arrays: by name, of a checkpoint; empty for a file of Keras.
      layers: of a file of Keras, which knows layers but no names of weights.
      file: that file; None for a checkpoint.
    """

    source: str
    description: str
    sha256: str
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    layers: Layers = dataclasses.field(default_factory=dict)
    file: pathlib.Path | None = None


def read(source: str, sha256: str = "") -> SavedWeights:
    """The weights of a run's folder, which may be in a bucket, a checkpoint, or a file of Keras.

    `sha256`: what they must have; empty: any.

    Raises SavedWeightsError.
    """
    with _places(source) as places:
        found = _first_intact(source, places)
    if sha256 not in ("", found.sha256):
        raise error(
            source,
            "be what the run was begun with, as no checkpoint of it is left",
            f"now with sha256 {found.sha256[:12]}, not {sha256[:12]}",
            "restore it, or choose another --workdir",
        )
    return found


class InitialWeights:
    """What a run begins with: read once, for its digest and then for the first state.

    `begun`: the sha256 of what the run began with earlier; None where it begins now.
    """

    def __init__(self, source: str, begun: str | None):
        self.begun = begun
        self._source = source
        self._kept: SavedWeights | None = None

    @property
    def sha256(self) -> str:
        """Raises SavedWeightsError."""
        if self.begun is not None:
            return self.begun
        self._kept = self._kept or read(self._source)
        return self._kept.sha256

    def take(self) -> SavedWeights:
        """The weights, which are not kept any longer. Raises SavedWeightsError."""
        kept, self._kept = self._kept, None
        return kept or read(self._source, self.begun or "")


def recorded(checkpoints: pathlib.Path) -> str | None:
    """The sha256 of the initial weights of the run whose checkpoints are in this folder.

    None where there is no checkpoint that says so; "" where it began with weights from its seed.
    """
    for step in saved_steps(checkpoints)[::-1]:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            return manifest.read(_folder(checkpoints, step))["origin"].get(
                "model.initial_weights", ""
            )
    return None


def error(source: str, rule: str, received: str, fix: str) -> SavedWeightsError:
    also = f", {received}" if received else ""
    return SavedWeightsError(
        f"`model.initial_weights` must {rule}. Received: {short_json(source)}{also}; {fix}."
    )


@contextlib.contextmanager
def _places(source: str) -> Iterator[list[pathlib.Path]]:
    """The checkpoints or the file that may be read, the best first."""
    path = pathlib.Path(source)
    if "://" not in source and (path.is_file() or (path / manifest.NAME).is_file()):
        yield [path]
        return
    with locate.open_workdir(source).open_readonly() as workdir:
        yield _ranked(workdir.checkpoints)


def _ranked(checkpoints: pathlib.Path) -> list[pathlib.Path]:
    """Those that were evaluated by their loss, then all, the newest first."""
    steps = saved_steps(checkpoints)[::-1]
    losses = {}
    for step in steps:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, InputError):
            losses[step] = float(manifest.read(_folder(checkpoints, step))["test"]["loss"])
    evaluated = sorted((step for step in steps[::-1] if math.isfinite(losses.get(step, math.nan))),
                       key=losses.__getitem__)  # fmt: skip
    return [_folder(checkpoints, step) for step in dict.fromkeys([*evaluated, *steps])]


def _folder(checkpoints: pathlib.Path, step: int) -> pathlib.Path:
    return checkpoints / f"step-{step:010d}"


def _first_intact(source: str, places: list[pathlib.Path]) -> SavedWeights:
    fix = "name a run's folder, a checkpoint in it, or a .keras or .weights.h5 file"
    reason = "with no checkpoint there"
    for path in places:
        try:
            return _of_file(source, path) if path.is_file() else _of_checkpoint(source, path)
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, InputError) as cause:
            reason = os_reason(cause) if isinstance(cause, OSError) else str(cause)
            if len(places) > 1:
                logging.warning("initial weights: %s cannot be used: %s", path, reason)
    raise error(source, "hold weights that can be read", reason, fix)


def _of_file(source: str, path: pathlib.Path) -> SavedWeights:
    content = safe_reading.read_bytes(path, sys.maxsize)
    layers = keras_file.layers(path, content)
    return SavedWeights(
        source, str(path), hashlib.sha256(content).hexdigest(), layers=layers, file=path
    )


def _of_checkpoint(source: str, folder: pathlib.Path) -> SavedWeights:
    found: dict[str, Any] = manifest.read(folder)
    content = safe_reading.read_bytes(folder / _ARRAYS, sys.maxsize)
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != found["sha256"][_ARRAYS]:
        raise ValueError("its checksum differs")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
    named = npz.read(io.BytesIO(content), dict.fromkeys(names))
    description = f"step {found['step']} of {source}"
    return SavedWeights(source, description, sha256, _evaluated(named))


def _evaluated(named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Layer state and weights by their own names, and averages in place of weights that have one."""
    found = {}
    for name, array in named.items():
        kind, _, rest = name.partition("/")
        if kind in ("weights", "state"):
            found[rest] = _average(named, rest, array) if kind == "weights" else array
    return found


def _average(named: dict[str, np.ndarray], name: str, weight: np.ndarray) -> np.ndarray:
    slots = f"optimizer/{name}/"
    if not named.get(f"{slots}iteration", 0):
        return weight
    leaf = name.rpartition("/")[2].partition("__")[0]
    average = named.get(f"{slots}{leaf}{_AVERAGE}")
    return named.get(f"{slots}weight{_AVERAGE}", weight) if average is None else average
