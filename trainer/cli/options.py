"""Which flags does each verb have?

One documented dataclass for each verb, whose fields are its flags. `trainer.cli.flag_values` makes absl
flags from them; `trainer.cli.help` prints them.
"""

import dataclasses
from typing import ClassVar

from strategies.choose import STRATEGIES, TRANSPORTS
from strategies.cluster.flags import ClusterFlags
from strategies.network.flags import ENCRYPT, SecurityFlags
from trainer.cli.option_groups import (
    CheckpointOptions,
    ClusterOptions,
    CompileOptions,
    DeviceOptions,
    OverrideOptions,
    PeerOptions,
    RecordOptions,
    ScreenOptions,
    StallOptions,
    StartupOptions,
    SupervisorOptions,
    TrainerArgsOptions,
    WorkdirOptions,
)
from trainer.cli.plan_options import PlanOptions
from trainer.cli.sweep_options import CompareOptions, CrossValidateOptions, TuneOptions
from trainer.cli.synonyms import STRATEGY_SYNONYMS
from trainer.config.data_schema import PARTITIONS
from trainer.config.fields import option


@dataclasses.dataclass(frozen=True)
class TrainOptions(
    StallOptions,
    StartupOptions,
    PeerOptions,
    CompileOptions,
    DeviceOptions,
    ClusterOptions,
    RecordOptions,
    ScreenOptions,
    WorkdirOptions,
    OverrideOptions,
):
    """Train a recipe, in one process or as one task of a cluster. This verb may be left out."""

    verb: ClassVar[str] = "train"
    config: str = option(
        "digits_dense", "a recipe below, the path of a recipe, or the config.json of an earlier run"
    )
    strategy: str = option(
        "auto",
        "how replicas work together; auto: as the cluster requires, and the log gives the reason",
        choices=STRATEGIES,
        synonyms=STRATEGY_SYNONYMS,
    )
    ps: int = option(
        0,
        "number of parameter servers where the cluster has no job names (Slurm, or a plain --cluster "
        "list): the first task is then the chief, the next N are parameter servers, the rest workers; "
        "0: all are workers",
        least=0,
    )
    transport: str = option(
        "auto",
        "how workers exchange gradients; direct: over sockets of this program, fastest on CPUs; "
        "tensorflow: through TensorFlow's collectives, required on GPUs; auto: by the kind of device",
        choices=TRANSPORTS,
    )
    mesh: str = option(
        "",
        "how workers hold parts of the model, e.g. model:2, or data:2,model:2 for two groups that share "
        "each batch, with two parts of the model in each; a single process computes all parts; needs "
        "--config.model.blocks",
        metavar="AXES",
    )
    encrypt: str = option(
        "auto",
        "what workers encrypt; all: everything; control: everything but the gradients of "
        "--transport=direct, which is faster; auto: all, where there is a secret or --tls_ca",
        choices=ENCRYPT,
    )
    stop_grace_s: float = option(
        30.0, "seconds to save a checkpoint and exit after Ctrl-C or SIGTERM", above=0, below=1e6
    )

    @property
    def cluster_flags(self) -> ClusterFlags:
        """The flags from which the cluster is resolved."""
        return dataclasses.replace(super().cluster_flags, ps=self.ps)

    @property
    def security_flags(self) -> SecurityFlags:
        """The flags that secure this process's connections."""
        return dataclasses.replace(super().security_flags, encrypt=self.encrypt)


@dataclasses.dataclass(frozen=True)
class CheckOptions(TrainOptions):
    """Report what `train` would do with the same flags, and what is wrong, without training."""

    verb: ClassVar[str] = "check"
    tpu_topology: str = option(
        "",
        "compile for this TPU, e.g. v5e:2x4, and report the memory and work of a step; needs no TPU, but "
        "the packages of `make .venv-tpu`",
        metavar="KIND:SHAPE",
    )


@dataclasses.dataclass(frozen=True)
class EvaluateOptions(
    StallOptions,
    StartupOptions,
    CompileOptions,
    DeviceOptions,
    ScreenOptions,
    CheckpointOptions,
):
    """Evaluate a checkpoint of an earlier run on exactly its test or validation examples."""

    verb: ClassVar[str] = "evaluate"
    split: str = option("test", "the examples to evaluate on", choices=("test", "validation"))
    strategy: str = option(
        "auto",
        "mirrored: the devices of this machine; tpu: a TPU; auto: a TPU if --tpu or the environment "
        "names one",
        choices=("auto", "mirrored", "tpu"),
        synonyms=STRATEGY_SYNONYMS,
    )


@dataclasses.dataclass(frozen=True)
class ExportOptions(CheckpointOptions):
    """Write a trained model, which takes raw inputs, to WORKDIR/export, and measure it."""

    verb: ClassVar[str] = "export"
    format: str = option(
        "keras",
        "what to write: a .keras file, weights alone, a TensorFlow SavedModel, LiteRT or ONNX",
        choices=("keras", "weights", "savedmodel", "tflite", "onnx"),
    )
    quantize: str = option(
        "", "store weights in fewer bits, where the format can", choices=("", "int8", "float16")
    )


@dataclasses.dataclass(frozen=True)
class PredictOptions(CheckpointOptions):
    """Answer for the examples in files: predict WORKDIR|EXPORT FILE..., of .npy, .npz, .csv or images."""

    verb: ClassVar[str] = "predict"
    show: str = option(
        "json", "json: one line for each example; table: for people", choices=("json", "table")
    )
    words: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Draw runs as one page, side by side: report WORKDIR..., each also of a run that failed or runs."""

    verb: ClassVar[str] = "report"
    output: str = option(
        "",
        "HTML file to write; default: report.html in the run's folder, or here for several runs",
        metavar="FILE",
    )
    words: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class LaunchOptions(SupervisorOptions, ScreenOptions, TrainerArgsOptions):
    """Run a whole cluster on this machine, one process per task. Flags of train follow `--`."""

    verb: ClassVar[str] = "launch"
    workers: int = option(2, "number of workers", least=1)
    ps: int = option(0, "number of parameter servers; with any, a chief coordinates", least=0)
    chief: bool = option(False, "add a chief; without parameter servers it trains too")
    evaluator: bool = option(False, "add a task that evaluates checkpoints as they are saved")
    devices_per_worker: int = option(1, "number of GPUs, or of CPU replicas, of each task", least=1)
    min_workers: int = option(
        0,
        "continue without a worker that keeps failing, as long as this many remain; not with --ps; 0: "
        "never",
        least=0,
    )
    rejoin_after_s: float = option(
        60.0,
        "seconds after which a cluster that lost workers stops to try all of them again; doubled after "
        "each failure",
        above=0,
        below=1e6,
    )


@dataclasses.dataclass(frozen=True)
class DataOptions(OverrideOptions):
    """Prepare a source, as in `data npz:data.npz`, and print what is in it and how it is divided."""

    verb: ClassVar[str] = "data"
    source: str = option(
        "", "what to prepare; the same as the word after `data`", metavar="KIND:WHAT"
    )
    config: str = option(
        "digits_dense",
        "the recipe whose fields of `data` choose the columns: its name or path, also as the word after "
        "`data`",
    )
    partition: str = option(
        "",
        "divide the training examples so, and show the shares: the same as --config.data.partition",
        choices=("", *PARTITIONS),
    )
    partitions: int = option(
        0, "number of shares: the same as --config.data.partitions; 0: that of the config", least=0
    )
    picture: str = option(
        "shares.png",
        "the .png or .svg file in which the shares are drawn; empty: none",
        metavar="FILE",
    )


# Those of any verb; CheckOptions are TrainOptions, too.
Options = (
    TrainOptions
    | EvaluateOptions
    | ExportOptions
    | PredictOptions
    | ReportOptions
    | LaunchOptions
    | TuneOptions
    | CrossValidateOptions
    | CompareOptions
    | DataOptions
    | PlanOptions
)

VERBS: dict[str, type[Options]] = {
    command.verb: command
    for command in (
        TrainOptions,
        EvaluateOptions,
        ExportOptions,
        PredictOptions,
        ReportOptions,
        LaunchOptions,
        TuneOptions,
        CrossValidateOptions,
        CompareOptions,
        CheckOptions,
        DataOptions,
        PlanOptions,
    )
}
