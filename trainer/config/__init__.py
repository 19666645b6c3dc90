"""What is an experiment? `schema.py` documents it, and `load.py` makes one from a recipe and flags.

Recipes import `trainer.recipe`. Those written for version 0.1 import these names from here.
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
