"""Which source does `data.source` name?

`KIND:WHAT`, such as `csv:train.csv,test.csv`. The kinds are the modules in `sources/` that define
`open_source`, found by their names. WHAT is a list of files or names; `NAME=VALUE` in it sets an option
of the kind, whose module documents it as the fields of a dataclass `Options`.
"""

import dataclasses
import importlib
import importlib.util
import os
import pkgutil
import types
from typing import Any

from trainer.config import fields as fields_lib
from trainer.config.fields import ConfigError, short_json
from trainer.config.nearest import nearest
from trainer.data import sources
from trainer.data.dataset import DataConfig, DataError
from trainer.data.table import Opened


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The options of a kind that has none."""


@dataclasses.dataclass(frozen=True)
class Address:
    """A source that was named, and not opened yet."""

    kind: str
    items: tuple[str, ...]  # Files, or names.
    options: Any  # An instance of the kind's `Options`.
    config: DataConfig

    def __str__(self) -> str:
        return f"{self.kind}:{','.join(self.items)}"

    def open(self) -> Opened:
        """Finds its files. Raises DataError where they are missing or damaged."""
        opened = _module(self.kind).open_source(self)
        for split, table in opened.tables.items():
            if not table.num_pieces:
                of = "" if split == "all" else f" to {split} on"
                raise self.error(f"must have at least one example{of}", "none")
        return opened

    @property
    def names(self) -> tuple[str, ...]:
        """The items as any folder can name them: files with their whole path."""
        if getattr(_module(self.kind), "ITEMS_ARE_NAMES", False):
            return self.items
        return tuple(os.path.abspath(os.path.expanduser(item)) for item in self.items)

    def not_ready(self) -> str:
        """What `open` would have to make or download first; "" where it would not take long."""
        module = _module(self.kind)
        return module.not_ready(self) if hasattr(module, "not_ready") else ""

    def error(self, rule: str, received: str, fix: str = "correct it") -> DataError:
        shown = " ".join(received.split())[:300]
        return DataError(f"`data.source={self}` {rule}. Received: {shown}; {fix}.")


def kinds() -> dict[str, str]:
    """Each kind of source with the first line of its documentation."""
    found = {}
    for module in pkgutil.iter_modules(sources.__path__):
        if hasattr(loaded := _import(module.name), "open_source"):
            found[module.name] = (loaded.__doc__ or "").partition("\n")[0]
    return found


def options_of(kind: str) -> list[fields_lib.Field]:
    """The documented options of a kind."""
    return list(fields_lib.fields(getattr(_module(kind), "Options", NoOptions)))


def parse(config: DataConfig) -> Address:
    """The source that `data.source` names. Raises DataError where there is no such kind or option."""
    kind, colon, rest = config.source.partition(":")
    if not colon or not rest:
        raise DataError(
            f"`data.source` must be KIND:WHAT. Received: {short_json(config.source)}; write e.g. "
            f"npz:FILE.npz; the kinds are {', '.join(kinds())}."
        )
    schema = getattr(_module(kind), "Options", NoOptions)
    known = {field.name: field for field in fields_lib.fields(schema)}
    items, given = [], {}
    for item in rest.split(","):
        name, equals, value = item.partition("=")
        if equals and name in known:
            given[name] = known[name].parse(value)
        elif item:
            items.append(item)
    if not items:
        raise DataError(f"`data.source` must name what to read. Received: {config.source!r}.")
    try:
        return Address(kind, tuple(items), fields_lib.build(schema, given), config)
    except ConfigError as error:
        raise DataError(f"`data.source={config.source}`: {error}") from None


def _module(kind: str) -> types.ModuleType:
    is_there = kind.isidentifier() and importlib.util.find_spec(f"{sources.__name__}.{kind}")
    if is_there and hasattr(loaded := _import(kind), "open_source"):
        return loaded
    known = kinds()
    close = nearest(kind, known)
    hint = f"did you mean {close}?" if close else "correct it."
    if os.path.exists(kind):
        hint = "write the kind before the file, as in csv:FILE."
    raise DataError(
        f"`data.source` must begin with one of {', '.join(known)}. Received: {short_json(kind)}; {hint}"
    )


def _import(name: str) -> types.ModuleType:
    return importlib.import_module(f"{sources.__name__}.{name}")
