"""What must be the same in all tasks of a run? Versions, devices, transport, config and data.

The tasks compare their fingerprints when they meet, and refuse to train together if they differ.
"""

import platform
from typing import Any

from strategies.choose import Choice
from strategies.packages import version
from strategies.rendezvous import mismatch
from trainer import __version__
from trainer.config import schema as config_lib
from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset

_PLACES = (
    "data.dir",
    "data.source",
    "model.initial_weights",
    "recipe",
)  # Each machine may have its own folders.


def compute(
    config: ExperimentConfig,
    choice: Choice,
    num_devices: int,
    dataset: Dataset | None,
    sources: dict[str, str] | None = None,
    initial_weights: str | None = None,
    profile: str = "",
) -> dict[str, Any]:
    """The fingerprint of one task. The places of data and recipe are not part of it.

    `dataset` is None where only the leader loads data. `sources`: those of the recipe, if it makes the
    model. `initial_weights`: their sha256; None where this task does not have or need the file.
    `profile`: the flag.
    """
    flat = config_lib.flatten(config)
    return {
        **versions(),
        "devices": num_devices,
        "transport": choice.transport,
        **({"--mesh": str(choice.mesh)} if choice.mesh else {}),
        "config": {name: value for name, value in flat.items() if name not in _PLACES},
        **({"sources": sources} if sources else {}),
        **({"--profile": profile} if profile else {}),  # Loops end there.
        "data": dataset and _of_data(config, dataset),
        **({mismatch.IF_PRESENT: {"initial_weights": initial_weights}} if initial_weights else {}),
    }


def _of_data(config: ExperimentConfig, dataset: Dataset) -> str:
    """Of all examples; where each worker has its own, of what they must have in common."""
    if not config.federated.own_data:
        return dataset.fingerprint
    arrays = [f"{array.dtype} {list(array.shape[1:])}" for array in dataset.train.arrays]
    return f"{', '.join(arrays)}, {dataset.num_outputs} outputs, scale {dataset.feature_scale}"


def versions() -> dict[str, str | None]:
    """The versions of this program and of the packages that influence its results."""
    return {
        "version": __version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{name: version(name) for name in ("tensorflow", "keras", "numpy")},
    }
