"""What must the tasks of a job have in common, before they train together?"""

import platform

from strategies.choose import Choice
from strategies.packages import version
from trainer import __version__
from trainer.config import schema as config_lib
from trainer.config.schema import ExperimentConfig
from trainer.data.dataset import Dataset


def fingerprint(
    config: ExperimentConfig, choice: Choice, num_devices: int, dataset: Dataset | None
) -> dict:
    """What all tasks of a job must have in common. Where the data lies may differ.

    `dataset` is None with parameter servers, where the chief alone reads it.
    """
    flat = config_lib.flatten(config)
    return {
        **versions(),
        "devices": num_devices,
        "transport": choice.transport,
        "config": {name: value for name, value in flat.items() if name != "data.dir"},
        "data": dataset and dataset.fingerprint,
    }


def versions() -> dict[str, str | None]:
    """What tasks on different machines may have installed differently, and must not."""
    return {
        "version": __version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{name: version(name) for name in ("tensorflow", "keras", "numpy")},
    }
