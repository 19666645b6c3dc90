"""What is an experiment?

`ExperimentConfig` says all that decides a run's weights, and how often it saves and evaluates. It
is frozen; a recipe in `configs/` is a short diff from its defaults, and any field can be overridden
on the command line as `--config.SECTION.FIELD=VALUE`. How a cluster is reached is not part of it:
those are flags.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from trainer.config import fields as fields_lib
from trainer.config.fields import Field, option

CLASSIFICATION_DATASETS = ("digits", "mnist", "dense_100")
REGRESSION_DATASETS = ("linear_100", "relu_regression")
ACTIVATIONS = ("relu", "elu", "gelu", "selu", "sigmoid", "silu", "softplus", "tanh")

# What may change between two runs in one workdir: none of it alters the weights after a step. (With
# several workers on parameter servers steps_per_loop does, but there every run differs.)
TRAJECTORY_FREE = frozenset(
    (
        "name",
        "data.dir",
        "data.placement",
        "data.download_timeout_s",
        "train.epochs",
        "train.steps",
        "train.steps_per_loop",
        "train.checkpoint_every_steps",
        "train.checkpoint_every_s",
        "train.keep_checkpoints",
        "train.keep_best",
        "train.skip_bad_batches",
        "train.eval_every_epochs",
        "train.log_examples",
    )
)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What is read, and in which portions."""

    name: str = option(
        "digits", "the data set", choices=CLASSIFICATION_DATASETS + REGRESSION_DATASETS
    )
    dir: str = option("", "folder with the data; empty: where the data set usually is")
    global_batch_size: int = option(64, "examples in one step, over all replicas", least=1)
    placement: str = option(
        "auto",
        "resident: kept on the device; stream: through tf.data; auto: resident if it fits",
        choices=("auto", "resident", "stream"),
    )
    shuffle: bool = option(True, "visit the examples in a new order each epoch")
    train_examples: int = option(0, "train on this many examples, the first ones; 0: all", least=0)
    download_timeout_s: float = option(
        300.0, "seconds after which preparing a download is given up", above=0, below=1e6
    )


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A stack of dense layers. Classifiers end in logits; the loss applies the softmax."""

    name: str = option("dense", "the kind of model: dense", choices=("dense",))
    hidden_units: tuple[int, ...] = option(
        (128,), "units of each hidden layer, as in 128,64; (): none", least=1
    )
    activation: str = option("relu", "activation of the hidden layers", choices=ACTIVATIONS)
    output_activation: str = option(
        "", "activation of the last layer of a regression; empty: none", choices=("", *ACTIVATIONS)
    )


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How gradients become an update of the weights."""

    name: str = option(
        "adam", "the Keras optimizer", choices=("sgd", "adam", "adamw", "rmsprop", "adagrad")
    )
    learning_rate: float = option(0.001, "step size", above=0, below=1e6)
    momentum: float = option(0.0, "for sgd and rmsprop", least=0, below=1)
    weight_decay: float = option(0.0, "decoupled decay, for adamw", least=0, below=1e6)
    global_clipnorm: float = option(
        0.0, "the gradient is scaled down to this norm over all weights; 0: never", least=0
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long to train, and what to do on the way."""

    epochs: int = option(10, "passes over the training examples", least=1)
    steps: int = option(
        0, "stop after so many steps, whatever epochs says; 0: epochs decide", least=0
    )
    seed: int = option(0, "decides the first weights and the order of the examples", least=0)
    reduction_blocks: int = option(
        0,
        "a batch's gradient is the sum of so many parts in a fixed order, so that weights have the "
        "same bits on 1, 2, 4, ... replicas, up to as many; 0: chosen by the batch size, usually 4",
        least=0,
    )
    exact_products: bool = option(
        False,
        "multiply float32 numbers as such also where hardware is faster with fewer bits: by itself a TPU "
        "rounds the factors to bfloat16, and a GPU to TF32",
    )
    steps_per_loop: int = option(
        0,
        "steps in one compiled call, and with parameter servers in one unit of work; 0: chosen by "
        "the program",
        least=0,
    )
    checkpoint_every_steps: int = option(
        0, "save this often, and at the end; 0: at the end of each epoch", least=0
    )
    checkpoint_every_s: float = option(
        0.0,
        "also save at the first loop's end so many seconds after the last save; 0: never",
        least=0,
        below=1e6,
    )
    keep_checkpoints: int = option(3, "how many checkpoints to keep, the newest", least=1)
    keep_best: bool = option(True, "keep the checkpoint with the lowest test loss too")
    skip_bad_batches: int = option(
        0,
        "where a loss is NaN or infinite, go back and leave out that batch, so many times; 0: stop",
        least=0,
        below=1000,
    )
    eval_every_epochs: int = option(
        1, "evaluate on the test examples this often, and at the end; 0: at the end only", least=0
    )
    log_examples: bool = option(
        False, "write the index of every example consumed to WORKDIR/examples-*.jsonl"
    )


@dataclasses.dataclass(frozen=True)
class SyncConfig:
    """What replicas exchange, and when."""

    mode: str = option(
        "auto",
        "gradients: every step, all together; async: each worker on its own, through the parameter "
        "servers; auto: async where the cluster has a ps",
        choices=("auto", "gradients", "async"),
    )


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """One experiment, whole."""

    name: str = option("", "what the run is called; empty: as its recipe's file")
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    sync: SyncConfig = dataclasses.field(default_factory=SyncConfig)


def fields() -> Iterator[Field]:
    """Every field with its dotted name, type, default, documentation and choices."""
    return fields_lib.fields(ExperimentConfig)


def flatten(config: ExperimentConfig) -> dict[str, Any]:
    """{"data.name": "digits", ...}, in the order of `fields()`; tuples as lists, as in JSON."""
    return fields_lib.flatten(config)


def differences(a: ExperimentConfig, b: ExperimentConfig) -> list[str]:
    """The dotted names of the fields in which two configs differ."""
    values = flatten(b)
    return [name for name, value in flatten(a).items() if value != values[name]]


def to_json(config: ExperimentConfig) -> str:
    """The whole config as an indented JSON object, which `from_json` reads back to an equal one."""
    return json.dumps(dataclasses.asdict(config), indent=2) + "\n"
