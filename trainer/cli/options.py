"""Which flags does each verb have?"""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from strategies.choose import STRATEGIES, TRANSPORTS
from strategies.cluster.flags import ClusterFlags
from trainer.cli.tuners import RULES, TUNERS
from trainer.config.fields import option


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Train a recipe, alone or as one task of a cluster. This verb may be left out."""

    verb: ClassVar[str] = "train"
    config: str = option(
        "digits_dense", "a recipe below, the path of a recipe, or the config.json of an earlier run"
    )
    workdir: str = option(
        "",
        "where the run keeps its checkpoints, metrics and summary; started again there, it goes "
        "on; default: a fresh folder under runs/",
        metavar="DIR",
    )
    strategy: str = option(
        "auto", "auto: what TF_CONFIG asks for, with the reason on the screen", choices=STRATEGIES
    )
    cluster: str = option(
        "",
        "the tasks that train together, in place of a TF_CONFIG: worker=a:2222,b:2222, with jobs apart "
        "by ; as in 'chief=c:2222;worker=a:2222,b:2222;ps=p:2222'. a[0-3]:2222 stands for four hosts, "
        "and a list without jobs for workers. Within a step of Slurm with several tasks: those tasks",
        metavar="JOB=HOST:PORT,...",
    )
    task: str = option(
        "",
        "which of them this is, as in worker:0; default: the one whose address is this machine's, or "
        "in a Kubernetes Indexed Job the one at JOB_COMPLETION_INDEX in --cluster",
        metavar="JOB:N",
    )
    ps: int = option(
        0,
        "of the tasks of Slurm, or of a --cluster without jobs, the first is the chief, the next so many "
        "parameter servers, the rest workers; 0: all are workers",
        least=0,
    )
    transport: str = option(
        "auto",
        "how workers exchange gradients. direct: over connections of their own, the fastest on CPUs; "
        "tensorflow: through its collectives, as GPUs need; auto: as the devices are",
        choices=TRANSPORTS,
    )
    tpu: str = option(
        "", "train on this TPU; `local` for one attached to this machine", metavar="NAME"
    )
    devices: int = option(
        0, "how many GPUs, or replicas on the CPU; 0: every GPU, or the CPU as one", least=0
    )
    secret_file: str = option(
        "",
        "a file with a secret that all tasks share, so that no stranger takes part; default: the "
        "environment variable MUSTER_SECRET",
        metavar="FILE",
    )
    startup_timeout_s: float = option(
        120.0,
        "seconds for all tasks of the cluster to meet, or to find out where a TPU that is named is",
        above=0,
        below=1e6,
    )
    peer_timeout_s: float = option(
        30.0, "seconds of silence after which a task counts as lost", above=0, below=1e6
    )
    stall_timeout_s: float = option(
        600.0,
        "seconds without progress after which the task says where every thread stands, and ends",
        above=0,
        below=1e6,
    )
    stop_grace_s: float = option(
        30.0, "seconds to save and leave after Ctrl-C or SIGTERM", above=0, below=1e6
    )
    overrides: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)

    @property
    def asked(self) -> ClusterFlags:
        """What the flags say of the cluster."""
        return ClusterFlags(self.cluster, self.task, self.ps)


@dataclasses.dataclass(frozen=True)
class CheckOptions(TrainOptions):
    """Say what `train` would do with the same flags, and what is wrong, without training."""

    verb: ClassVar[str] = "check"
    tpu_topology: str = option(
        "",
        "compile for this TPU, as in v5e:2x4, and say what a step takes of it; needs no TPU, but the "
        "packages of `make .venv-tpu`",
        metavar="KIND:SHAPE",
    )


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Evaluate a checkpoint of an earlier run on exactly its test examples."""

    verb: ClassVar[str] = "evaluate"
    workdir: str = option("", "the folder of the run", metavar="DIR")
    checkpoint: int = option(0, "the step it was saved at; 0: the newest", least=0)
    best: bool = option(False, "the one with the lowest test loss, as far as they were evaluated")
    strategy: str = option(
        "auto",
        "tpu, or mirrored for the devices of this machine; auto: as --tpu or the environment say",
        choices=("auto", "mirrored", "tpu"),
    )
    tpu: str = option(
        "", "evaluate on this TPU; `local` for one attached to this machine", metavar="NAME"
    )
    devices: int = option(
        0, "how many GPUs, or replicas on the CPU; 0: every GPU, or the CPU as one", least=0
    )
    startup_timeout_s: float = option(
        120.0, "seconds to find out where a TPU that is named is", above=0, below=1e6
    )
    stall_timeout_s: float = option(
        600.0,
        "seconds after which it says where every thread stands, and ends",
        above=0,
        below=1e6,
    )


@dataclasses.dataclass(frozen=True)
class LaunchOptions:
    """Run a whole cluster on this machine, a process for each task. Train's flags follow a `--`."""

    verb: ClassVar[str] = "launch"
    workers: int = option(2, "tasks that train", least=1)
    ps: int = option(0, "parameter servers; they bring a chief that coordinates", least=0)
    chief: bool = option(False, "let a chief lead, which without ps trains too")
    evaluator: bool = option(False, "add a task that evaluates checkpoints as they appear")
    devices_per_worker: int = option(1, "GPUs, or replicas on the CPU, for each task", least=1)
    max_restarts: int = option(
        3,
        "how often tasks that die are started again, to go on from the newest checkpoint; each newer "
        "checkpoint starts a new count; 0: the first to die ends all",
        least=0,
    )
    min_workers: int = option(
        0,
        "where one worker keeps failing, go on without it, on as few as this; not with --ps; 0: never",
        least=0,
    )
    rejoin_after_s: float = option(
        60.0,
        "seconds after which a smaller cluster stops to try all workers again; in vain: twice as long",
        above=0,
        below=1e6,
    )
    grace_s: float = option(
        40.0, "seconds from asking the tasks to stop to killing them", least=0, below=1e6
    )
    trainer_args: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class TuneOptions:
    """Search for the best values of a recipe's space, trial by trial. Train's flags follow a `--`."""

    verb: ClassVar[str] = "tune"
    config: str = option(
        "digits_sweep", "what is varied: a recipe, its path, or the config.json of an earlier run"
    )
    space: str = option(
        "",
        "where the space is, if not in that recipe: another recipe, or a JSON file; one dimension is set "
        "by --space.FIELD=LOW..HIGH, LOW..HIGH:STEP, LOW..HIGH:log or A|B|C, and after it, in quotes, "
        "its condition if it has one, as in '0..0.9 when optimizer.name=sgd'",
        metavar="FILE",
    )
    workdir: str = option(
        "",
        "where the sweep keeps its trials and results; started again there, it goes on; default: a "
        "fresh folder under runs/",
        metavar="DIR",
    )
    tuner: str = option("random", "how values are chosen", choices=TUNERS)
    objective: str = option(
        "",
        "the figure of a run's summary that is sought, as in test_loss; default: test_accuracy, and "
        "test_loss of a regression",
        metavar="NAME",
    )
    max_trials: int = option(
        0,
        "trials at most; 0: 20 for random and bayesian, for the others as many as there are",
        least=0,
    )
    seed: int = option(
        0, "decides which values are tried; the config has the seed of a run", least=0
    )
    max_epochs: int = option(
        0, "hyperband: epochs of the trials that get farthest; 0: as the config says", least=0
    )
    factor: int = option(
        3, "hyperband: one trial of so many goes on for so many times longer", least=2
    )
    early_stop: str = option(
        "never",
        "median: a trial is stopped where its best is worse than the mean that half of the earlier "
        "ones had reached by then",
        choices=RULES,
    )
    parallel_trials: int = option(
        1, "trials at a time on this machine, whose cores and GPUs they share", least=1
    )
    workers_per_trial: int = option(1, "tasks that train each trial", least=1)
    ps_per_trial: int = option(0, "parameter servers of each trial", least=0)
    max_restarts: int = option(
        3, "how often a trial that was killed, or lost a peer, is resumed without progress", least=0
    )
    max_trial_s: float = option(
        0.0, "seconds after which a trial counts as failed; 0: none", least=0, below=1e9
    )
    cluster: str = option(
        "",
        "the machines of a sweep across some: worker=a:2222,b:2222, of which the first hands out the "
        "trials and runs some too, or with a chief=c:2222 that only hands them out. TF_CONFIG and "
        "keras-tuner's variables say it too; within a step of Slurm with several tasks: those tasks",
        metavar="JOB=HOST:PORT,...",
    )
    task: str = option(
        "", "which of them this is, as in worker:0; default: as of train", metavar="JOB:N"
    )
    bind: str = option(
        "",
        "the address on which who hands out the trials listens, if not the one by which the others "
        "reach it",
        metavar="HOST",
    )
    secret_file: str = option(
        "",
        "a file with a secret that all machines of the sweep share; default: MUSTER_SECRET",
        metavar="FILE",
    )
    startup_timeout_s: float = option(
        120.0, "seconds for the chief and its clients to meet", above=0, below=1e6
    )
    peer_timeout_s: float = option(
        30.0,
        "seconds of silence after which a client is lost, and its trials go to another",
        above=0,
        below=1e6,
    )
    grace_s: float = option(
        40.0, "seconds from asking the trials to stop to killing them", least=0, below=1e6
    )
    overrides: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    dimensions: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    trainer_args: tuple[str, ...] = ()

    @property
    def asked(self) -> ClusterFlags:
        """What the flags say of the sweep's machines."""
        return ClusterFlags(self.cluster, self.task)


VERBS: dict[str, type] = {
    command.verb: command
    for command in (TrainOptions, EvaluateOptions, LaunchOptions, TuneOptions, CheckOptions)
}
