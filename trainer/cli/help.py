"""What does `--help` print?

`page` lists verbs, flags and recipes, and `config_page` the fields of the config. All texts come from the
documentation of the options and fields, and from the docstrings of the recipes.
"""

import textwrap
from collections.abc import Iterable, Mapping

from trainer import __version__
from trainer.config import recipes
from trainer.config import schema as config_lib
from trainer.config.fields import Field, fields

_WIDTH = 99
_HEAD = f"""\
muster {__version__} trains a recipe on the devices of this machine, or on the cluster that TF_CONFIG,
--cluster or Slurm describes. It chooses the strategy automatically, and logs the reason.

Usage: python -m trainer [VERB] [--FLAG=VALUE ...]"""
_EXAMPLES = (
    ("python -m trainer", "the default recipe"),
    (
        "python -m trainer --config=mnist_dense --workdir=runs/mnist",
        "the same again resumes the run",
    ),
    ("python -m trainer --config.train.epochs=5", "set any field of the config"),
    ("python -m trainer check --config=mnist_dense_ps", "check everything without training"),
    ("python -m trainer launch --workers=2 -- --config=mnist_dense", "train with two processes"),
    ("python -m trainer export --workdir=runs/mnist --format=tflite", "take the model away"),
    ("python -m trainer report runs/mnist runs/other", "draw runs side by side as one page"),
    ("python -m trainer tune --max_trials=16 --parallel_trials=2", "search for better values"),
    (
        "python -m trainer compare --vary=sync.mode=gradients,parameters:20",
        "draw variants side by side",
    ),
    ("python -m trainer cross_validate --folds=5", "mean and spread over five folds"),
    ("python -m trainer plan --workers=1..64 --bandwidth=100mbit", "how many workers are worth it"),
)
_MORE = (
    ("--help=VERB", "the flags of one verb"),
    ("--help=config", "every field of the config, with its default"),
    ("--flagfile=FILE", "read flags from a file, one --FLAG=VALUE on each line"),
    ("--version", "the version of this program"),
)
_CODES = (
    ("0", "done"),
    ("2", "bad input: flags, config, TF_CONFIG or data"),
    ("75", "stopped, or a peer was lost: run the same command again to resume"),
)


def page(verbs: Mapping[str, type], verb: str = "") -> str:
    """The whole page, or the flags of one verb, in at most 100 columns."""
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
            _flags(verbs["check"], "Flags of check only", without=verbs["train"]),
            _flags(verbs["evaluate"], "Flags of evaluate"),
            _flags(verbs["export"], "Flags of export"),
            _flags(verbs["predict"], "Flags of predict"),
            _flags(verbs["report"], "Flags of report"),
            _flags(verbs["launch"], "Flags of launch"),
            _flags(verbs["tune"], "Flags of tune"),
            _flags(verbs["cross_validate"], "Flags of cross_validate"),
            _flags(verbs["compare"], "Flags of compare"),
            _flags(verbs["data"], "Flags of data"),
            _flags(verbs["plan"], "Flags of plan"),
            _table("Recipes", recipes.summaries().items()),
            _table("More", _MORE),
            _table("Exit codes", _CODES),
        ]
    )


def config_page() -> str:
    """Every field of the config with its default, documentation and choices."""
    head = "Every field of the config, as it is set on the command line, with its default."
    return "\n\n".join(
        [head, *(_table(name, map(_config_row, rows)) for name, rows in sections().items())]
    )


def sections() -> dict[str, list[Field]]:
    """The fields of the config by section; those of none under ""."""
    found: dict[str, list[Field]] = {}
    for field in config_lib.fields():
        found.setdefault(field.name.rpartition(".")[0], []).append(field)
    return found


def _flags(schema: type, title: str = "Flags", without: type | None = None) -> str:
    """The flags of a verb, first those that only it has; without those of another verb."""
    known = {field.name for field in fields(without, "--")} if without else set()
    rows = [field for field in fields(schema, "--") if field.name not in known]
    rows.sort(key=lambda field: field.name.removeprefix("--") not in schema.__annotations__)
    return _table(title, map(_flag_row, rows))


def _flag_row(field: Field) -> tuple[str, str]:
    if field.type is bool:
        return f"--[no]{field.name.removeprefix('--')}", field.doc
    return f"{field.name}={field.metavar or field.shown(field.default)}", documented(field)


def _config_row(field: Field) -> tuple[str, str]:
    return f"--config.{field.name}={field.shown(field.default)}", documented(field)


def documented(field: Field) -> str:
    """The field's documentation, with its choices unless the documentation names them all."""
    if all(choice in field.doc for choice in field.choices):
        return field.doc
    return f"{field.doc}; one of {', '.join(filter(None, field.choices))}"


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Two columns with a title; the second is wrapped."""
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
