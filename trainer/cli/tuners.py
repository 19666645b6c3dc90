"""Which tuners does a sweep offer, and which rules stop a trial early?

The names that `tune --tuner` and `--early_stop` take. They are apart from the code they name, since
`--help` must not import keras-tuner.
"""

from typing import NamedTuple


class Tuner(NamedTuple):
    """A way to search: its class in `keras_tuner_oracles`, and its number of trials by default."""

    oracle: str
    max_trials: int  # 0: until there are no more.
    in_epochs: bool = False  # Whether it decides how long a trial lasts.


TUNERS = {
    "random": Tuner("Random", 20),
    "grid": Tuner("Grid", 0),
    "bayesian": Tuner("Bayesian", 20),
    "hyperband": Tuner("Hyperband", 0, in_epochs=True),
}

RULES = ("never", "median")
