"""What should the program do?

`parse` turns the command line into a frozen command: an instance of the verb's dataclass in `options.py`,
whose fields are its flags.
"""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from trainer import __version__
from trainer.cli import flag_values, hints
from trainer.cli import help as help_lib
from trainer.cli.option_groups import CheckpointOptions, ScreenOptions
from trainer.cli.options import (
    VERBS,
    DataOptions,
    EvaluateOptions,
    ExportOptions,
    LaunchOptions,
    Options,
    PlanOptions,
    PredictOptions,
    ReportOptions,
    TrainOptions,
    TuneOptions,
)
from trainer.cli.sweep_options import ManyRunsOptions
from trainer.config import recipes
from trainer.config.fields import ConfigError, build, short_json
from trainer.process import console

_SCREEN = tuple(field.name for field in dataclasses.fields(ScreenOptions))
_OfTasks = TypeVar("_OfTasks", bound=LaunchOptions | ManyRunsOptions)
_OfTrials = TypeVar("_OfTrials", bound=ManyRunsOptions)


def parse(argv: Sequence[str]) -> Options:
    """The command that `argv`, without the program's name, gives.

    `--help` and `--version` are answered here, on stdout.

    Raises:
      SystemExit: with code 0, after `--help` or `--version`.
      ConfigError: a verb or flag is unknown, or a value is missing or invalid.
    """
    own, marker, rest = _split(flag_values.with_flagfiles(argv))
    verb, args = _verb(own)
    _print_help(args, verb if own[:1] == [verb] else "")
    if marker and not hints.takes_trainer_args(VERBS[verb]):
        *verbs, last = [f"`{one}`" for one in VERBS if hints.takes_trainer_args(VERBS[one])]
        raise ConfigError(
            f"only {', '.join(verbs)} and {last} take flags after `--`. Received: "
            f"{short_json(' '.join(rest))} after `{verb}`; remove the `--`."
        )
    if verb == DataOptions.verb and args[:1] and not args[0].startswith("-"):
        flag = "config" if recipes.is_name_or_path(args[0]) else "source"
        args = [f"--{flag}={args[0]}", *args[1:]]
    given = flag_values.read(args, VERBS[verb])
    command = build(VERBS[verb], given.options, "--")
    if isinstance(command, LaunchOptions):
        return _with_one_screen(_launch(command, rest))
    if isinstance(command, TuneOptions):
        command = dataclasses.replace(command, dimensions=given.dimensions)
    if isinstance(command, ManyRunsOptions):
        return _with_one_screen(_many_runs(command, given, rest))
    if isinstance(command, ScreenOptions):
        _check_screen(command)
    if isinstance(command, PredictOptions):
        return _predict(dataclasses.replace(command, words=given.words))
    if isinstance(command, ReportOptions):
        return _report(dataclasses.replace(command, words=given.words))
    if isinstance(command, EvaluateOptions | ExportOptions):
        return _of_a_run(command)
    if isinstance(command, PlanOptions):
        command.check()
    if isinstance(command, TrainOptions):
        _ = command.profile_steps  # It is refused here where it is none.
    return dataclasses.replace(command, overrides=given.overrides)


def parse_trainer_args(trainer_args: Sequence[str]) -> TrainOptions:
    """The command of `train` that a command's own `trainer_args` give."""
    command = parse(trainer_args)
    assert isinstance(command, TrainOptions)  # `_trainer_args` has refused all other verbs.
    return command


def _split(argv: list[str]) -> tuple[list[str], bool, list[str]]:
    """The arguments before `--`, whether there is one, and the arguments after it."""
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
    raise hints.unknown_verb(args[0])


def _print_help(args: Sequence[str], verb: str) -> None:
    """Answers `--help` or `--version` if one of them is given, and exits with code 0."""
    for arg in args:
        name, _, topic = arg.partition("=")
        flag = name.lstrip("-") if name.startswith("-") else ""
        if flag == "version":
            text = f"muster {__version__}"
        elif flag == "helpfull" or (flag, topic) == ("help", "config"):
            text = help_lib.config_page()
        elif flag in ("help", "h"):
            text = help_lib.page(VERBS, topic or verb)
        else:
            continue
        console.print_result(text)
        raise SystemExit(0)


def _check_screen(command: ScreenOptions) -> None:
    given = [f"--{name}" for name in _SCREEN if getattr(command, name)]
    if len(given) > 1:
        raise ConfigError(
            "`--json`, `--quiet` and `--verbose` exclude each other. Received: "
            f"{' and '.join(given)}; keep one of them."
        )


def _with_one_screen(command: _OfTasks) -> _OfTasks:
    """The command with what it and the flags of its tasks ask of the screen: they share one."""
    tasks = parse_trainer_args(command.trainer_args)
    asked = {name: getattr(command, name) or getattr(tasks, name) for name in _SCREEN}
    args = [arg for arg in command.trainer_args if arg.partition("=")[0][2:] not in _SCREEN]
    command = dataclasses.replace(command, **asked, trainer_args=tuple(args))
    _check_screen(command)
    return command


def _predict(command: PredictOptions) -> PredictOptions:
    model, *files = command.words or ("",)
    model = command.workdir or model
    files = [*command.words] if command.workdir else files
    if not model or not files:
        raise ConfigError(
            "`predict` needs a run or an export, and files. Received: "
            f"{short_json(' '.join(command.words))}; write predict WORKDIR FILE..."
        )
    _check_one_checkpoint(command)
    return dataclasses.replace(command, workdir=model, words=tuple(files))


def _report(command: ReportOptions) -> ReportOptions:
    if not command.words:
        raise ConfigError(
            '`report` needs the folders of runs. Received: ""; write report WORKDIR..., e.g. report '
            "runs/NAME."
        )
    return command


def _of_a_run(command: EvaluateOptions | ExportOptions) -> EvaluateOptions | ExportOptions:
    if not command.workdir:
        raise ConfigError(
            '`--workdir` must name the folder of a run. Received: ""; try --workdir=runs/NAME.'
        )
    _check_one_checkpoint(command)
    return command


def _check_one_checkpoint(command: CheckpointOptions) -> None:
    if command.best and command.checkpoint:
        raise ConfigError(
            "`--best` and `--checkpoint` exclude each other. Received: both, with "
            f"--checkpoint={command.checkpoint}; remove one of them."
        )


def _launch(command: LaunchOptions, trainer_args: list[str]) -> LaunchOptions:
    _check_min_workers(command)
    return dataclasses.replace(command, trainer_args=_trainer_args("launch", trainer_args))


def _many_runs(command: _OfTrials, given: flag_values.Flags, trainer_args: list[str]) -> _OfTrials:
    args = _trainer_args(command.verb, trainer_args)
    for name in (arg.partition("=")[0] for arg in args):
        if name in ("--config", "--workdir") or name.startswith(f"--{hints.OVERRIDE}"):
            raise ConfigError(
                f"`{command.verb}` gives each trial its own config and workdir. Received: "
                f"{short_json(name)} after `--`; put it before the `--`."
            )
    return dataclasses.replace(command, overrides=given.overrides, trainer_args=args)


def _trainer_args(verb: str, typed: list[str]) -> tuple[str, ...]:
    """The flags of `train` after `--`, each as --NAME=VALUE, checked here once for all tasks."""
    args = flag_values.with_flagfiles(typed)  # First, as a flag file may begin with a verb.
    if args and not args[0].startswith("-") and args[0] != "train":
        raise ConfigError(
            f"`{verb}` only trains. Received: {short_json(args[0])} after `--`; give flags of `train` "
            "there."
        )
    for flag, value in vars(parse_trainer_args(args).cluster_flags).items():
        if value:
            raise ConfigError(
                f"`{verb}` creates the clusters that it trains on. Received: "
                f"{short_json(f'--{flag}={value}')} after `--`; leave it out."
            )
    own = args[1:] if args[:1] == ["train"] else args
    return flag_values.read(own, TrainOptions).args


def _check_min_workers(command: LaunchOptions) -> None:
    wanted = command.min_workers
    if wanted > command.workers:
        raise ConfigError(
            f"`--min_workers` must be at most --workers={command.workers}. Received: {wanted}; "
            "lower it, or start more workers."
        )
    if wanted and command.ps:
        raise ConfigError(
            f"`--min_workers` is for clusters without parameter servers. Received: {wanted} with "
            f"--ps={command.ps}; leave it out: with parameter servers the run continues without a lost "
            "worker."
        )
    if wanted and not command.max_restarts:
        raise ConfigError(
            f"`--min_workers` needs restarts. Received: {wanted} with --max_restarts=0; allow some."
        )
