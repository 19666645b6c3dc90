"""What does a recipe need? This is the only module that recipes import.

A recipe is a Python file with a function `get_config() -> ExperimentConfig` and, for a sweep, a function
`get_space() -> dict[str, Dimension]`:

    from trainer.recipe import ExperimentConfig, OptimizerConfig, TrainConfig, between

    def get_config():
        return ExperimentConfig(optimizer=OptimizerConfig("sgd"), train=TrainConfig(epochs=5))

    def get_space():
        return {"optimizer.learning_rate": between(1e-4, 1e-1, log=True)}

Any recipe may send its metrics to a tracker, too:

    def get_writer(config, workdir):  # On the task that writes. The function imports what it needs.
        return MyWriter(...)  # With the methods of `MetricWriter`.

It may bring a Keras model of its own, with these functions, of which `get_model` makes it so:

    def get_model(config, data):  # Functional, Sequential or subclassed; it may be compiled.
        return keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Conv2D(8, 3), ...])

    def get_data(config):  # Else the data set of `data.name`.
        return {"train": (features, targets), "test": (features, targets)}  # Perhaps "validation" too.

    def get_loss(config): ...  # As `compile` takes it.
    def get_metrics(config): ...
    def get_optimizer(config): ...

    def augment(example, rng):  # NumPy arrays of one training example, and a numpy.random.Generator.
        features, targets = example
        return np.roll(features, rng.integers(-2, 3), axis=1), targets

What a recipe does not define is taken from the compiled model; else the targets' type decides on loss and
metrics, and `optimizer` is that of the config.

Features and targets are arrays, or arrays by name for a model with several inputs or outputs; a third
array may follow, the weights of the examples in the training loss. In place of the pair, anything with a
length will do whose `[i]` is such a pair for one example, or a dictionary from which `data.features` and
`data.target` choose: data sets of Hugging Face and torch, data sources of Grain and TFDS. So will a
`tf.data.Dataset` that ends and always has the same order. `data` is what `get_data` returned. Modules
beside the recipe can be imported. `augment` is called anew for each example in each epoch, and returns
arrays of the same types and shapes; its `rng` follows from the seed, the epoch and the example, and it
may use nothing else that changes.
"""

from trainer.config.fields import ConfigError
from trainer.config.schema import (
    DataConfig,
    EarlyStoppingConfig,
    ExperimentConfig,
    FederatedConfig,
    ModelConfig,
    OptimizerConfig,
    PrivacyConfig,
    SyncConfig,
    TrainConfig,
)
from trainer.metrics.trackers import MetricWriter
from trainer.tune.space.dimension import Dimension, between, choice

__all__ = [
    "ConfigError",
    "DataConfig",
    "Dimension",
    "EarlyStoppingConfig",
    "ExperimentConfig",
    "FederatedConfig",
    "MetricWriter",
    "ModelConfig",
    "OptimizerConfig",
    "PrivacyConfig",
    "SyncConfig",
    "TrainConfig",
    "between",
    "choice",
]
