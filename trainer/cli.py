"""What did the person ask for?

`parse` turns the command line into a frozen command, one class for each verb, whose fields are its
flags. What the flags mean is documented there, and `trainer.help` shows it. Not argparse: its
messages change with the version of Python, and name neither a way out nor the nearest flag.
"""

import dataclasses
import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from strategies.choose import STRATEGIES, TRANSPORTS
from strategies.cluster.flags import Asked
from trainer import __version__
from trainer import help as help_lib
from trainer.config import recipes
from trainer.config import schema as config_lib
from trainer.config.fields import ConfigError, Field, brief, build, fields, nearest, option
from trainer.sweep.hopeless import RULES
from trainer.sweep.oracle import TUNERS

_OVERRIDE = "--config."
_DIMENSION = "--space."
_TAKES_TRAINER_ARGS = ("launch", "tune")


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
    def asked(self) -> Asked:
        """What the flags say of the cluster."""
        return Asked(self.cluster, self.task, self.ps)


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
    def asked(self) -> Asked:
        """What the flags say of the sweep's machines."""
        return Asked(self.cluster, self.task)


VERBS: dict[str, type] = {
    command.verb: command
    for command in (TrainOptions, EvaluateOptions, LaunchOptions, TuneOptions, CheckOptions)
}


def parse(argv: Sequence[str]) -> TrainOptions | EvaluateOptions | LaunchOptions | TuneOptions:
    """The command that `argv`, without the program's name, asks for.

    `--help` and `--version` are answered here, on stdout.

    Raises:
      SystemExit: with code 0, after answering.
      ConfigError: a verb or flag is unknown, or a value is missing or invalid.
    """
    own, marker, rest = _split(argv)
    verb, args = _verb(own)
    _answer(args, verb if own[:1] == [verb] else "")
    if verb == "launch":
        return _launch(args, rest)
    if verb == "tune":
        return _tune(args, rest)
    if marker:
        raise ConfigError(
            f"only {' and '.join(f'`{one}`' for one in _TAKES_TRAINER_ARGS)} take flags after `--`. "
            f"Received: {brief(' '.join(rest))} after `{verb}`; take out the `--`."
        )
    return _evaluate(args) if verb == "evaluate" else _train(verb, args)


def _split(argv: Sequence[str]) -> tuple[list[str], bool, list[str]]:
    """What stands before `--`, whether there is one, and what stands after it."""
    argv = list(argv)
    if "--" not in argv:
        return argv, False, []
    place = argv.index("--")
    return argv[:place], True, argv[place + 1 :]


def _verb(args: list[str]) -> tuple[str, list[str]]:
    if not args or args[0].startswith("-"):
        return "train", args
    if args[0] in VERBS:
        return args[0], args[1:]
    if args[0] == "help":
        return "train", ["--help", *args[1:]]
    raise ConfigError(
        f"the verbs are {', '.join(VERBS)}. Received: {brief(args[0])}; {_meant(args[0])}"
    )


def _meant(word: str) -> str:
    if word in recipes.names() or word.endswith((".py", ".json")) and word.isprintable():
        return f"did you mean --config={word}?"
    close = difflib.get_close_matches(word, VERBS, n=1)
    return f"did you mean `{close[0]}`?" if close else "`--help` explains them."


def _answer(args: Sequence[str], verb: str) -> None:
    """Prints what was asked about the program, if anything was, and leaves with exit code 0."""
    for arg in args:
        name, _, topic = arg.partition("=")
        if arg == "--version":
            text = f"muster {__version__}"
        elif arg in ("--helpfull", "--help=config"):
            text = help_lib.config_page()
        elif name in ("--help", "-h"):
            text = help_lib.page(VERBS, topic or verb)
        else:
            continue
        try:
            print(text, flush=True)
        except BrokenPipeError:  # As in `--help | head`: whoever reads has seen enough.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Or Python would complain on its way out.
        raise SystemExit(0)


def _train(verb: str, args: Sequence[str]) -> TrainOptions:
    values, dotted = _read(args, VERBS[verb])
    command = build(VERBS[verb], values, "--")
    return dataclasses.replace(command, overrides=dotted[_OVERRIDE])


def _evaluate(args: Sequence[str]) -> EvaluateOptions:
    values, _ = _read(args, EvaluateOptions)
    command = build(EvaluateOptions, values, "--")
    if not command.workdir:
        raise ConfigError(
            '`--workdir` must name the folder of a run. Received: ""; try --workdir=runs/NAME.'
        )
    if command.best and command.checkpoint:
        raise ConfigError(
            "`--best` and `--checkpoint` exclude each other. Received: both, with "
            f"--checkpoint={command.checkpoint}; leave one out."
        )
    return command


def _launch(args: Sequence[str], trainer_args: Sequence[str]) -> LaunchOptions:
    values, _ = _read(args, LaunchOptions)
    command = build(LaunchOptions, values, "--")
    _check_min_workers(command)
    return dataclasses.replace(command, trainer_args=_trainer_args("launch", trainer_args))


def _tune(args: Sequence[str], trainer_args: Sequence[str]) -> TuneOptions:
    values, dotted = _read(args, TuneOptions)
    command = build(TuneOptions, values, "--")
    flags = _trainer_args("tune", trainer_args)
    for name in (arg.partition("=")[0] for arg in flags):
        if name in ("--config", "--workdir") or name.startswith(_OVERRIDE):
            raise ConfigError(
                f"`tune` gives each trial its own config and workdir. Received: {brief(name)} after "
                "`--`; put it before the `--`."
            )
    return dataclasses.replace(
        command, overrides=dotted[_OVERRIDE], dimensions=dotted[_DIMENSION], trainer_args=flags
    )


def _trainer_args(verb: str, args: Sequence[str]) -> tuple[str, ...]:
    """The flags of `train` that stood after the `--`, found to be right."""
    if args and not args[0].startswith("-") and args[0] != "train":
        raise ConfigError(
            f"`{verb}` only trains. Received: {brief(args[0])} after `--`; give flags of `train` there."
        )
    command = parse(args)  # A slip is told once, here, and not by each task.
    for flag, value in vars(command.asked).items():
        if value:
            raise ConfigError(
                f"`{verb}` makes the clusters that it trains on. Received: {brief(f'--{flag}={value}')} "
                "after `--`; leave it out."
            )
    return tuple(args[1:] if args[:1] == ["train"] else args)


def _check_min_workers(command: LaunchOptions) -> None:
    asked = command.min_workers
    if asked > command.workers:
        raise ConfigError(
            f"`--min_workers` must be at most --workers={command.workers}. Received: {asked}; "
            "lower it, or start more workers."
        )
    if asked and command.ps:
        raise ConfigError(
            f"`--min_workers` is for clusters without parameter servers. Received: {asked} with "
            f"--ps={command.ps}; leave it out, as there the run goes on without a lost worker."
        )
    if asked and not command.max_restarts:
        raise ConfigError(
            f"`--min_workers` needs restarts. Received: {asked} with --max_restarts=0; allow some."
        )


def _read(args: Sequence[str], schema: type) -> tuple[dict[str, object], dict[str, dict[str, str]]]:
    """The values of a verb's flags by name, and as they were typed those of a dotted name by its head."""
    known = {field.name: field for field in fields(schema, "--")}
    values: dict[str, object] = {}
    dotted: dict[str, dict[str, str]] = {_OVERRIDE: {}, _DIMENSION: {}}
    for name, text in _pairs(args, known):
        head = next((head for head in dotted if name.startswith(head)), "")
        if head and head[:-1] in known:
            dotted[head][name.removeprefix(head)] = text
        elif name in known:
            values[name] = known[name].parse(text)
        else:
            raise _unknown_flag(name, known, schema)
    return values, dotted


def _pairs(args: Sequence[str], known: Mapping[str, Field]) -> Iterator[tuple[str, str]]:
    """Each flag with its value as typed, whether it came as `--flag=value` or `--flag value`."""
    rest = list(args)
    while rest:
        name, has_value, text = rest.pop(0).partition("=")
        if not name.startswith("-"):
            raise ConfigError(f"flags begin with `--`. Received: {brief(name)}; {_meant(name)}")
        if not has_value:
            text = _next_value(name, rest, known)
        yield name, text


def _next_value(name: str, rest: list[str], known: Mapping[str, Field]) -> str:
    if name in known and known[name].type is bool:
        return "true"
    if not name.startswith((_OVERRIDE, _DIMENSION)) and name not in known:
        return ""  # The caller refuses the name.
    if not rest or rest[0].startswith("--"):
        shown = brief(name)[1:-1]
        raise ConfigError(f"`{shown}` needs a value. Received: none; write {shown}=VALUE.")
    return rest.pop(0)


def _unknown_flag(name: str, known: Mapping[str, Field], schema: type) -> ConfigError:
    bare = name.lstrip("-").replace("-", "_")
    owners = [verb for verb, other in VERBS.items() if f"--{bare}" in _names(other)]
    if name.startswith(_DIMENSION):
        owners = ["tune"]
    if name.startswith(_OVERRIDE) or owners and f"--{bare}" not in known:
        owner = owners[0] if owners else "train"
        is_for_tasks = schema.verb in _TAKES_TRAINER_ARGS and owner == "train"
        way_out = "put it after `--`"
        if bare in vars(Asked()):
            way_out = f"leave it out, as `{schema.verb}` makes the clusters that it trains on"
        hint = f"it is a flag of `{owner}`" + (f": {way_out}." if is_for_tasks else ".")
    else:
        hint = _near_flag(bare, known)
    return ConfigError(f"`{schema.verb}` has no such flag. Received: {brief(name)}; {hint}")


def _near_flag(bare: str, known: Mapping[str, Field]) -> str:
    offered = [name.removeprefix("--") for name in known] + ["help", "version"]
    if "--config" in known:
        offered += [f"config.{field.name}" for field in config_lib.fields()]
    close = nearest(bare, offered)
    return f"did you mean `--{close}`?" if close else "`--help` lists them all."


def _names(schema: type) -> set[str]:
    return {field.name for field in fields(schema, "--")}
