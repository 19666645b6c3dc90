"""Which tuners and stopping rules does a sweep offer, and which flags can it search?

The names that `tune --tuner`, `--early_stop` and `--space.FLAG` accept. The code that they name is in
`trainer.tune`; `--help` needs the names and must not import keras-tuner.
"""

from typing import NamedTuple


class Tuner(NamedTuple):
    """A search algorithm: its class in `keras_tuner_oracles`, and its default number of trials."""

    oracle: str
    max_trials: int  # 0: all trials that the tuner proposes.
    in_epochs: bool = False  # Whether the tuner decides how many epochs a trial trains.


TUNERS = {
    "random": Tuner("Random", 20),
    "grid": Tuner("Grid", 0),
    "bayesian": Tuner("Bayesian", 20),
    "hyperband": Tuner("Hyperband", 0, in_epochs=True),
}

RULES = ("never", "median")

# The flags of launch and train that a sweep can vary, besides every field of the config.
SEARCHABLE_FLAGS = ("--workers", "--ps", "--devices_per_worker", "--strategy", "--transport")
