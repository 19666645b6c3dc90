"""How is a field of the config, or a flag, documented and checked?

A schema is a frozen dataclass whose fields are made with `option`, or are schemas themselves. A field has
a dotted name, e.g. "data.global_batch_size". The config and the flags of each verb are schemas, so both
are parsed, checked and documented by the same code.
"""

import dataclasses
import functools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Protocol, TypeVar

from strategies.errors import InputError
from trainer.config.kinds import KINDS, TEXTS
from trainer.config.nearest import closest, nearest

_INT32_MAX = 2**31 - 1  # Steps, sizes and seeds meet 32-bit integers on the devices.


class Schema(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


_Schema = TypeVar("_Schema", bound=Schema)


class ConfigError(InputError):
    """A flag or a field of the config is unknown, of the wrong type or out of range."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a schema: its documentation, and the values that it accepts.

    `synonyms` are other words for its choices, in lower case without punctuation. `since` is the format
    of config.json that added the field, and `incompatible` the reason to refuse an older config.json; see
    `trainer.config.json_format`.
    """

    name: str
    type: Any
    default: Any
    doc: str
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    below: float | None = None
    metavar: str = ""
    synonyms: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    since: int = 0
    incompatible: str = ""

    def parse(self, text: str) -> Any:
        """The value that was typed as `text`. Raises ConfigError."""
        try:
            value = KINDS[self.type].parse(text)
        except ValueError:
            raise self._type_error(text) from None
        return self.check(value)

    def check(self, value: Any) -> Any:
        """The value in the field's own type: 1 as 1.0, a list as a tuple. Raises ConfigError."""
        try:
            value = KINDS[self.type].accept(value)
        except (ValueError, OverflowError):
            raise self._type_error(value) from None
        if self.choices and value not in self.choices:
            raise self._choice_error(value)
        if self.type not in (bool, str, TEXTS):
            self._check_range(value)
        return value

    def shown(self, value: Any) -> str:
        """The value as it is typed: 128,64 for (128, 64), "" for an empty text."""
        if isinstance(value, tuple):
            return ",".join(map(str, value)) or "()"
        if isinstance(value, bool):
            return str(value).lower()
        return str(value).removesuffix(".0") if value != "" else '""'

    def error(self, rule: str, value: Any, fix: str) -> ConfigError:
        return ConfigError(f"`{self.name}` {rule}. Received: {short_json(value)}; {fix}.")

    def _check_range(self, value: Any) -> None:
        for number in value if isinstance(value, tuple) else (value,):
            for bound, holds in self._bounds():
                if not holds(number):
                    raise self.error(f"must be {bound}", value, f"try {self.shown(self.default)}")

    def _bounds(self) -> Iterator[tuple[str, Callable[[float], bool]]]:
        least, above, below = self.least, self.above, self.below
        if least is not None:
            yield f"at least {least}", lambda number: number >= least
        if above is not None:
            yield f"above {above}", lambda number: number > above
        if below is not None:
            yield f"below {below}", lambda number: number < below
        if self.type is not float:
            yield f"at most {_INT32_MAX}", lambda number: number <= _INT32_MAX

    def _type_error(self, value: Any) -> ConfigError:
        rule = f"must be {KINDS[self.type].description}"
        if self.type is str and isinstance(value, str):
            return self.error(rule, value, "remove the characters that are not printable")
        return self.error(rule, value, f"try {self.shown(self.default)}")

    def _choice_error(self, value: str) -> ConfigError:
        offered = ", ".join(choice or '""' for choice in self.choices)
        meant = self._choice_meant_by(value)
        fix = f"did you mean {meant}?" if meant else f"try {self.shown(self.default)}."
        return ConfigError(
            f"`{self.name}` must be one of {offered}. Received: {short_json(value)}; {fix}"
        )

    def _choice_meant_by(self, value: str) -> str:
        """The choice that `value` is another word or spelling for, or "" where there is none."""
        known = {_normalized(choice): choice for choice in self.choices} | dict(self.synonyms)
        meant = known.get(_normalized(value), "")
        return meant if meant in self.choices else closest(value.lower(), self.choices)


def _normalized(value: str) -> str:
    """In lower case without punctuation: "tf.distribute.TPUStrategy" becomes "tpustrategy"."""
    return re.sub(r"[\W_]", "", value.rpartition(".")[2].lower())


def option(default: Any, doc: str, **rules: Any) -> Any:
    """A dataclass field with its documentation and, as in `Field`, the values that it accepts."""
    return dataclasses.field(default=default, metadata={"doc": doc, **rules})


def section_schema(field: dataclasses.Field[Any]) -> type[Schema] | None:
    """The schema of a field that is a section; None for any other field."""
    if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
        return field.type
    return None


def fields(schema: type[Schema], prefix: str = "") -> Iterator[Field]:
    """Every field of a schema by its dotted name, those of its sections included, in source order."""
    return iter(_fields(schema, prefix))


@functools.cache
def _fields(schema: type[Schema], prefix: str) -> tuple[Field, ...]:
    """Made once, as a sweep makes a config for each of its trials."""
    found: list[Field] = []
    for field in dataclasses.fields(schema):
        if section := section_schema(field):
            found += _fields(section, f"{prefix}{field.name}.")
        elif field.metadata:
            found.append(Field(prefix + field.name, field.type, field.default, **field.metadata))
    return tuple(found)


def build(schema: type[_Schema], values: Mapping[str, Any], prefix: str = "") -> _Schema:
    """The schema with values by dotted name; a field that is not in `values` keeps its default.

    Raises:
      ConfigError: a value has the wrong type or is out of range.
    """
    parts: dict[str, Any] = {
        field.name: build(section, values, f"{prefix}{field.name}.")
        for field in dataclasses.fields(schema)
        if (section := section_schema(field))
    }
    own = {field.name: field for field in fields(schema, prefix)}
    for field in dataclasses.fields(schema):
        name = prefix + field.name
        if name in own and name in values:
            parts[field.name] = own[name].check(values[name])
    return schema(**parts)


def flatten(instance: Any, prefix: str = "") -> dict[str, Any]:
    """The values by dotted name, as JSON would return them: tuples as lists.

    Raises:
      ConfigError: a section is not an instance of its schema.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(instance):
        name, value = prefix + field.name, getattr(instance, field.name)
        if section := section_schema(field):
            if not isinstance(value, section):
                kind = section.__name__
                raise ConfigError(
                    f"`{name}` must be a {kind}. Received: {short_json(value)}; write {kind}(...)."
                )
            values |= flatten(value, f"{name}.")
        else:
            values[name] = list(value) if isinstance(value, tuple) else value
    return values


def unknown(name: str, known: Iterable[str], value: Any) -> ConfigError:
    """The error for a name that is not a config field, with the nearest one that is."""
    close = nearest(name, known)
    hint = f"did you mean `{close}`?" if close else "`--help=config` lists all fields."
    shown = short_json(name)[1:-1]
    return ConfigError(f"`{shown}` is not a config field. Received: {short_json(value)}; {hint}")


def short_json(value: Any) -> str:
    """The value as JSON on one line of at most 100 characters, whatever its type and length."""
    try:
        text = json.dumps(value, default=lambda odd: f"a {type(odd).__name__}", skipkeys=True)
    except (ValueError, RecursionError):  # Nested too deeply, or more digits than Python prints.
        text = f"a {type(value).__name__} too large to show"
    return text if len(text) <= 100 else text[:97] + "..."
