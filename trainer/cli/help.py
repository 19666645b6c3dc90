"""What does `--help` say?

Everything here is taken from where it is decided: flags from the commands in `trainer.cli.parser`, fields
from the config, recipes from the heads of their files.
"""

import textwrap
from collections.abc import Iterable, Mapping

from trainer import __version__
from trainer.config import recipes
from trainer.config import schema as config_lib
from trainer.config.fields import Field, fields

_WIDTH = 99
_HEAD = f"""\
muster {__version__} trains a recipe on whatever it is started on: the devices of this machine, or
the cluster that TF_CONFIG, --cluster or Slurm describes. It chooses the strategy by itself, and
says why.

Usage: python -m trainer [VERB] [--FLAG=VALUE ...]"""
_EXAMPLES = (
    ("python -m trainer", "the default recipe"),
    ("python -m trainer --config=mnist_dense --workdir=runs/mnist", "again: the run goes on"),
    ("python -m trainer --config.train.epochs=5", "any field of the config can be set"),
    ("python -m trainer check --config=mnist_dense_ps", "is everything there?"),
    ("python -m trainer launch --workers=2 -- --config=mnist_dense", "two processes, one run"),
    ("python -m trainer tune --max_trials=16 --parallel_trials=2", "a search for better values"),
)
_MORE = (
    ("--help=VERB", "the flags of one verb"),
    ("--help=config", "every field of the config, with its default"),
    ("--version", "the version"),
)
_CODES = (
    ("0", "done"),
    ("2", "bad input: flags, config, TF_CONFIG or data"),
    ("75", "stopped or lost a peer: run the same command again and it goes on"),
)


def page(verbs: Mapping[str, type], verb: str = "") -> str:
    """The whole page, or what concerns one verb, for a screen of 100 columns."""
    if verb in verbs:
        usage = f"Usage: python -m trainer {verb} [--FLAG=VALUE ...]"
        usage += " -- [flags of train]" if hasattr(verbs[verb], "trainer_args") else ""
        return f"{usage}\n\n{verbs[verb].__doc__}\n\n{_flags(verbs[verb])}"
    return "\n\n".join(
        [
            _HEAD,
            _table("Examples", _EXAMPLES),
            _table("Verbs", ((name, str(schema.__doc__)) for name, schema in verbs.items())),
            _flags(verbs["train"], "Flags of train and check"),
            _flags(verbs["check"], "Flags of check alone", besides=verbs["train"]),
            _flags(verbs["evaluate"], "Flags of evaluate"),
            _flags(verbs["launch"], "Flags of launch"),
            _flags(verbs["tune"], "Flags of tune"),
            _table("Recipes", recipes.summaries().items()),
            _table("More", _MORE),
            _table("Exit codes", _CODES),
        ]
    )


def config_page() -> str:
    """Every field of the config with its default, what it does and what it may be."""
    sections: dict[str, list[Field]] = {}
    for field in config_lib.fields():
        sections.setdefault(field.name.rpartition(".")[0], []).append(field)
    head = "Every field of the config, as it is set on the command line, with its default."
    return "\n\n".join(
        [head, *(_table(name, map(_config_row, rows)) for name, rows in sections.items())]
    )


def _flags(schema: type, title: str = "Flags", besides: type | None = None) -> str:
    """Those of a verb, but not those that are `besides` it."""
    known = {field.name for field in fields(besides, "--")} if besides else set()
    own = [field for field in fields(schema, "--") if field.name not in known]
    return _table(title, map(_flag_row, own))


def _flag_row(field: Field) -> tuple[str, str]:
    if field.type is bool:
        return field.name, field.doc
    return f"{field.name}={field.metavar or field.shown(field.default)}", _documented(field)


def _config_row(field: Field) -> tuple[str, str]:
    return f"--config.{field.name}={field.shown(field.default)}", _documented(field)


def _documented(field: Field) -> str:
    """The field's documentation, and its choices where that leaves one of them out."""
    if all(choice in field.doc for choice in field.choices):
        return field.doc
    return f"{field.doc}; one of {', '.join(filter(None, field.choices))}"


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Two columns under a title, the second one wrapped."""
    rows = list(rows)
    indent = max(len(left) for left, _ in rows) + 4
    lines = [f"{title}:" if title else ""]
    for left, right in rows:
        lines += textwrap.wrap(
            right,
            _WIDTH,
            initial_indent=f"  {left}".ljust(indent),
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines).lstrip("\n")
