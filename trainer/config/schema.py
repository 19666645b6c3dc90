"""What is an experiment?

`ExperimentConfig` has everything that decides a run's weights, and how often it saves and evaluates. It
is frozen. A recipe in `configs/` is a short diff from its defaults, and any field can be set on the
command line as `--config.SECTION.FIELD=VALUE`. How tasks reach each other is not part of the config:
those are flags, in `trainer.cli.options`.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

from strategies.sync.names import APART
from trainer.config import fields as fields_lib
from trainer.config.data_schema import DataConfig
from trainer.config.early_stopping_schema import EarlyStoppingConfig
from trainer.config.fields import Field, option
from trainer.config.model_schema import ModelConfig
from trainer.config.optimizer_schema import OptimizerConfig
from trainer.config.privacy_schema import PrivacyConfig
from trainer.config.ps_schema import PsConfig
from trainer.config.sync_schema import FederatedConfig, SyncConfig

# The format of config.json. Policy on older and newer files: `trainer.config.json_format`.
FORMAT = 2

# Fields that may change when a run resumes: none changes the weights after a given step. (With several
# workers on parameter servers steps_per_loop does, but there no two runs are equal anyway.)
TRAJECTORY_FREE = frozenset(
    (
        "name",
        "recipe",  # The files there and the model are compared themselves.
        "data.dir",
        "data.source",  # The examples are compared themselves.
        "data.placement",
        "data.balance",  # What is added in which order is the same.
        "data.worker_speeds",
        "data.download_timeout_s",
        "ps.sparse_embeddings",  # A row that is not sent does not change.
        "sync.shard_optimizer",  # Which worker computes what does not change it.
        "train.sequential_blocks",
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
        "train.tensorboard_details",
        "train.max_time_s",
        "early_stopping.patience",
        "early_stopping.restore_best",
    )
)

# These are not among them where the learning rate decays until the end of the run.
RUN_LENGTH = frozenset(("train.epochs", "train.steps"))


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How long to train, and when to save and evaluate."""

    epochs: int = option(10, "passes over the training examples", least=1)
    steps: int = option(0, "number of steps, whatever epochs says; 0: train for `epochs`", least=0)
    label_smoothing: float = option(
        0.0,
        "share of each label that is spread evenly over all classes, for a classification",
        least=0,
        below=1,
        since=2,
    )
    focal_gamma: float = option(
        0.0,
        "multiply each example's cross-entropy by (1 - probability of its class) to this power, so that "
        "examples it does well on count less (focal loss), for a classification; 0: do not",
        least=0,
        below=100,
        since=2,
    )
    max_time_s: float = option(
        0.0,
        "seconds, over all starts of the run, after which it ends before its last step; 0: no limit",
        least=0,
        below=1e9,
        since=2,
    )
    seed: int = option(0, "seed of the initial weights and of the order of the examples", least=0)
    reduction_blocks: int = option(
        0,
        "compute a batch's gradient as a sum of N blocks in a fixed order, so that the weights have the "
        "same bits on any number of replicas up to N; 0: chosen from the batch size, usually 4",
        least=0,
    )
    sequential_blocks: bool = option(
        False,
        "compute the blocks of a batch one after another instead of in parallel, as gradient accumulation"
        " does: they take the memory of one block, and give the same weights; for a recipe's own model",
        since=2,
    )
    compiler: str = option(
        "auto",
        "how a CPU computes a recipe's own model: xla: XLA compiles each block of a batch; graph: "
        "TensorFlow runs it as it is; auto: chosen by the model's operations. The last bits differ",
        choices=("auto", "xla", "graph"),
        since=2,
    )
    threads_per_operation: int = option(
        1,
        "threads of a CPU that share each operation; 0: all, which is faster for large products in one "
        "process, but the last bits then depend on the number of cores; 1 for a recipe's own model",
        least=0,
        since=2,
    )
    exact_products: bool = option(
        False,
        "multiply float32 numbers in full precision; by default a TPU rounds the factors to bfloat16 "
        "and a GPU to TF32, which is faster",
    )
    steps_per_loop: int = option(
        0,
        "steps per call of the compiled loop, or per unit of work of a parameter server's worker; 0: "
        "chosen automatically",
        least=0,
    )
    checkpoint_every_steps: int = option(
        0, "save every N steps, and at the end; 0: at the end of each epoch", least=0
    )
    checkpoint_every_s: float = option(
        0.0,
        "also save when this many seconds have passed since the last save; 0: never",
        least=0,
        below=1e6,
    )
    keep_checkpoints: int = option(3, "number of newest checkpoints to keep", least=1)
    keep_best: bool = option(
        True,
        "also keep the checkpoint with the lowest loss on the validation split, or else the test split",
    )
    skip_bad_batches: int = option(
        0,
        "how many batches may be skipped because their loss is NaN or infinite; 0: stop at the first",
        least=0,
        below=1000,
    )
    eval_every_epochs: int = option(
        1,
        "evaluate on the validation split, or else the test split, every N epochs, and at the end; 0: at "
        "the end only",
        least=0,
    )
    log_examples: bool = option(
        False, "log the index of each example that is used, to WORKDIR/examples-*.jsonl"
    )
    tensorboard_details: bool = option(
        False,
        "also write the model's graph to TensorBoard, and with each checkpoint histograms of weights",
        since=2,
    )


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """A whole experiment."""

    name: str = option("", "name of the run; empty: the name of the recipe's file")
    recipe: str = option(
        "",
        "file with the functions that make model and data; empty: those that `model` and `data` name. "
        "Set by --config=FILE.py",
        since=2,
    )
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    early_stopping: EarlyStoppingConfig = dataclasses.field(default_factory=EarlyStoppingConfig)
    sync: SyncConfig = dataclasses.field(default_factory=SyncConfig)
    federated: FederatedConfig = dataclasses.field(default_factory=FederatedConfig)
    privacy: PrivacyConfig = dataclasses.field(default_factory=PrivacyConfig)
    ps: PsConfig = dataclasses.field(default_factory=PsConfig)


def trajectory_free(config: ExperimentConfig) -> frozenset[str]:
    """The fields that may change when a run of this config resumes."""
    free = TRAJECTORY_FREE
    if config.optimizer.decays_with_run:
        free -= RUN_LENGTH
    if config.sync.mode in APART:
        # Replicas agree after the last step, wherever that is in a round.
        free -= {"train.steps"}
    return free


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
    """The config.json of a config, from which `trainer.config.load.from_json` makes an equal one."""
    return json.dumps({"format": FORMAT} | dataclasses.asdict(config), indent=2) + "\n"
