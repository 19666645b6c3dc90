"""What does a recipe need? This is the only module that recipes import.

A recipe is a Python file with a function `get_config() -> ExperimentConfig` and, for a sweep, a function
`get_space() -> dict[str, Dimension]`:

    from trainer.recipe import ExperimentConfig, OptimizerConfig, TrainConfig, between

    def get_config():
        return ExperimentConfig(optimizer=OptimizerConfig("sgd"), train=TrainConfig(epochs=5))

    def get_space():
        return {"optimizer.learning_rate": between(1e-4, 1e-1, log=True)}
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
from trainer.tune.space.dimension import Dimension, between, choice

__all__ = [
    "ConfigError",
    "DataConfig",
    "Dimension",
    "ExperimentConfig",
    "ModelConfig",
    "OptimizerConfig",
    "SyncConfig",
    "TrainConfig",
    "between",
    "choice",
]
