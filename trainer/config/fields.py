"""How does a value from a person become a documented, checked field?

A schema is a frozen dataclass whose fields are made with `option`, or are schemas themselves. A
field is known by its dotted name, as in "data.global_batch_size". The config and the flags of each
verb are schemas, so both are read, checked, explained and spelled out in one way.
"""

import dataclasses
import difflib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from strategies.errors import InputError

WHOLE = "take the config.json of a run as it was written"
_INT32_MAX = 2**31 - 1  # Steps, sizes and seeds meet 32-bit integers on the devices.
_Schema = TypeVar("_Schema")


class ConfigError(InputError):
    """A flag or a field of the config is unknown, of the wrong type or out of range."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a schema: what it is, and which values it takes."""

    name: str
    type: Any
    default: Any
    doc: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    below: float | None = None
    metavar: str = ""

    def parse(self, text: str) -> Any:
        """The value that a person wrote as `text`. Raises ConfigError."""
        try:
            value = _KINDS[self.type].parse(text)
        except ValueError:
            raise self._type_error(text) from None
        return self.check(value)

    def check(self, value: Any) -> Any:
        """The value in the field's own type: 1 as 1.0, a list as a tuple. Raises ConfigError."""
        try:
            value = _KINDS[self.type].accept(value)
        except (ValueError, OverflowError):
            raise self._type_error(value) from None
        if self.choices and value not in self.choices:
            raise self._choice_error(value)
        if self.type not in (bool, str):
            self._check_range(value)
        return value

    def shown(self, value: Any) -> str:
        """The value as a person would write it: 128,64 for (128, 64), "" for an empty text."""
        if isinstance(value, tuple):
            return ",".join(map(str, value)) or "()"
        if isinstance(value, bool):
            return str(value).lower()
        return str(value).removesuffix(".0") if value != "" else '""'

    def error(self, rule: str, value: Any, way_out: str) -> ConfigError:
        return ConfigError(f"`{self.name}` {rule}. Received: {brief(value)}; {way_out}.")

    def _check_range(self, value: Any) -> None:
        for number in value if isinstance(value, tuple) else (value,):
            for bound, holds in self._bounds():
                if not holds(number):
                    raise self.error(f"must be {bound}", value, f"try {self.shown(self.default)}")

    def _bounds(self) -> Iterator[tuple[str, Callable[[float], bool]]]:
        if self.least is not None:
            yield f"at least {self.least}", lambda number: number >= self.least
        if self.above is not None:
            yield f"above {self.above}", lambda number: number > self.above
        if self.below is not None:
            yield f"below {self.below}", lambda number: number < self.below
        if self.type is not float:
            yield f"at most {_INT32_MAX}", lambda number: number <= _INT32_MAX

    def _type_error(self, value: Any) -> ConfigError:
        rule = f"must be {_KINDS[self.type].described}"
        if self.type is str and isinstance(value, str):
            return self.error(rule, value, "take out what is not printable")
        return self.error(rule, value, f"try {self.shown(self.default)}")

    def _choice_error(self, value: str) -> ConfigError:
        offered = ", ".join(choice or '""' for choice in self.choices)
        close = difflib.get_close_matches(value.lower(), self.choices, n=1)
        way_out = f"did you mean {close[0]}?" if close else f"try {self.shown(self.default)}."
        return ConfigError(
            f"`{self.name}` must be one of {offered}. Received: {brief(value)}; {way_out}"
        )


def option(default: Any, doc: str, **rules: Any) -> Any:
    """A dataclass field with its documentation and, as in `Field`, the values it takes."""
    return dataclasses.field(default=default, metadata={"doc": doc, **rules})


def fields(schema: type, prefix: str = "") -> Iterator[Field]:
    """Every field of a schema under its dotted name, sections opened, in the order of its text."""
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(field.type):
            yield from fields(field.type, f"{prefix}{field.name}.")
        elif field.metadata:
            yield Field(prefix + field.name, field.type, field.default, **field.metadata)


def build(schema: type[_Schema], values: Mapping[str, Any], prefix: str = "") -> _Schema:
    """The schema filled from dotted names; a field that is not in `values` keeps its default.

    Raises:
      ConfigError: a value has the wrong type or is out of range.
    """
    parts = {
        field.name: build(field.type, values, f"{prefix}{field.name}.")
        for field in dataclasses.fields(schema)
        if dataclasses.is_dataclass(field.type)
    }
    own = {field.name: field for field in fields(schema, prefix)}
    for field in dataclasses.fields(schema):
        name = prefix + field.name
        if name in own and name in values:
            parts[field.name] = own[name].check(values[name])
    return schema(**parts)


def flatten(instance: Any, prefix: str = "") -> dict[str, Any]:
    """The values under their dotted names, as JSON would give them back: tuples as lists.

    Raises:
      ConfigError: a section is no instance of its schema.
    """
    values = {}
    for field in dataclasses.fields(instance):
        name, value = prefix + field.name, getattr(instance, field.name)
        if dataclasses.is_dataclass(field.type):
            if not isinstance(value, field.type):
                kind = field.type.__name__
                raise ConfigError(
                    f"`{name}` must be a {kind}. Received: {brief(value)}; write {kind}(...)."
                )
            values |= flatten(value, f"{name}.")
        else:
            values[name] = list(value) if isinstance(value, tuple) else value
    return values


def flatten_json(schema: type, value: Any, prefix: str = "") -> dict[str, Any]:
    """The values of a JSON object under their dotted names, each field of the schema once.

    Raises:
      ConfigError: a field is unknown or missing, or a section is not an object.
    """
    if not isinstance(value, dict):
        section = f"`{prefix[:-1]}`" if prefix else "the config"
        raise ConfigError(f"{section} must be a JSON object. Received: {brief(value)}; {WHOLE}.")
    known = {field.name: field for field in dataclasses.fields(schema)}
    for name in value:
        if name not in known:
            raise unknown(
                prefix + name, [field.name for field in fields(schema, prefix)], value[name]
            )
    values = {}
    for name, field in known.items():
        if name not in value:
            raise ConfigError(
                f"`{prefix}{name}` is missing. Received: {brief(sorted(value))}; {WHOLE}."
            )
        if dataclasses.is_dataclass(field.type):
            values |= flatten_json(field.type, value[name], f"{prefix}{name}.")
        else:
            values[prefix + name] = value[name]
    return values


def unknown(name: str, known: Iterable[str], value: Any) -> ConfigError:
    """The error for a name that no field has, with the nearest that one has."""
    close = nearest(name, known)
    hint = f"did you mean `{close}`?" if close else "`--help=config` lists all fields."
    shown = brief(name)[1:-1]
    return ConfigError(f"`{shown}` is no field of the config. Received: {brief(value)}; {hint}")


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that somebody who wrote `name` may have meant, or "" where none is near.

    What comes after the last dot counts most, so that "data.seed" finds "train.seed".
    """
    section, _, leaf = name.rpartition(".")
    leaves: dict[str, str] = {}
    for other in sorted(known, key=lambda other: other.rpartition(".")[0] == section):
        leaves[other.rpartition(".")[2]] = other  # Of two equal leaves the one in this section.
    near = difflib.get_close_matches(leaf, leaves, n=1)
    near = near or [other for other in leaves if len(leaf) > 2 and leaf in other]
    return leaves[near[0]] if near else ""


def brief(value: Any) -> str:
    """The value on one short line, however long or odd it is."""
    try:
        text = json.dumps(value, default=lambda odd: f"a {type(odd).__name__}", skipkeys=True)
    except (ValueError, RecursionError):  # Too deep, or more digits than Python will print.
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= 100 else text[:97] + "..."


class _Kind(NamedTuple):
    """A type that a field may have. `parse` and `accept` raise ValueError for what is not of it."""

    described: str
    parse: Callable[[str], Any]
    accept: Callable[[Any], Any]


def _of(*types: type) -> Callable[[Any], Any]:
    """What accepts these very types: True is no integer here, though Python has it so."""

    def accept(value: Any) -> Any:
        if type(value) not in types:
            raise ValueError(value)
        return value

    return accept


def _finite(value: Any) -> float:
    number = float(_of(int, float)(value))
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _printable(value: Any) -> str:
    if not _of(str)(value).isprintable():
        raise ValueError(value)
    return value


def _truth(text: str) -> bool:
    return {"true": True, "false": False}.get(text.lower(), text)


def _integers(value: Any) -> tuple[int, ...]:
    return tuple(map(_of(int), _of(list, tuple)(value)))


def _parse_integers(text: str) -> tuple[int, ...]:
    """ "128,64", "(128, 64)" and "[128]", and "()" for none."""
    inner = text.strip()
    bracketed = inner[:1] + inner[-1:] in ("()", "[]")
    inner = inner[1:-1].strip() if bracketed else inner
    if bracketed and not inner:
        return ()
    return tuple(int(part) for part in inner.removesuffix(",").split(","))


_KINDS = {
    int: _Kind("an integer", int, _of(int)),
    float: _Kind("a finite number", float, _finite),
    bool: _Kind("true or false", _truth, _of(bool)),
    str: _Kind("one line of text", str, _printable),
    tuple[int, ...]: _Kind("integers, as in 128,64, or () for none", _parse_integers, _integers),
}
