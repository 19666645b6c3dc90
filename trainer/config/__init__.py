"""What is an experiment? `schema.py` documents it; `load.py` makes one from a recipe and flags.

Recipes import `trainer.recipe`. The names here are for recipes that were written for version 0.1.
"""

from trainer.config.fields import ConfigError
from trainer.config.schema import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    SyncConfig,
    TrainConfig,
)

__all__ = [
    "ConfigError",
    "DataConfig",
    "ExperimentConfig",
    "ModelConfig",
    "OptimizerConfig",
    "SyncConfig",
    "TrainConfig",
]
