"""What did the person ask for?

`parse` turns the command line into a frozen command, one class for each verb, whose fields are its
flags. What the flags mean is documented there, and `trainer.cli.parser.help` shows it. Not argparse: its
messages change with the version of Python, and name neither a way out nor the nearest flag.
"""

import dataclasses
import difflib
import os
from collections.abc import Iterator, Mapping, Sequence

from strategies.cluster.flags import ClusterFlags
from trainer import __version__
from trainer.cli import help as help_lib
from trainer.cli.options import VERBS, EvaluateOptions, LaunchOptions, TrainOptions, TuneOptions
from trainer.config import recipes
from trainer.config import schema as config_lib
from trainer.config.fields import ConfigError, Field, brief, build, fields, nearest

_OVERRIDE = "--config."
_DIMENSION = "--space."
_TAKES_TRAINER_ARGS = ("launch", "tune")


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
        if bare in vars(ClusterFlags()):
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
