"""Which values may one field take in a sweep?

A dimension is a range or a choice, for a field of the config or for a flag that says how a trial is
started. To keras-tuner its values are numbers and texts: (128, 64) is "128,64" there, True is "true".
"""

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.cli.options import LaunchOptions, TrainOptions
from trainer.cli.tuners import SEARCHABLE_FLAGS as FLAGS
from trainer.config import schema as config_lib
from trainer.config.fields import ConfigError, Field, fields, short_json
from trainer.config.nearest import nearest

MOST_STEPS = 10_000  # keras-tuner is given the steps of a range one by one, for each trial.


@dataclasses.dataclass(frozen=True)
class Dimension:
    """The values of the field `name`: a range from `low` to `high`, both included, or `choices`.

    `step` is added from one value to the next, or multiplied where `log`; without one a range has
    every value there is. The dimension is searched `when` the one named there has one of the values
    there, and is left as the recipe has it otherwise.
    """

    kind: str
    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()
    when: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict, hash=False)
    name: str = ""

    @property
    def field(self) -> Field:
        return searchable()[self.name]

    @property
    def values(self) -> Sequence[Any] | None:
        """All values in order, as keras-tuner has them; None: as many as there are numbers."""
        if self.kind == "choice":
            return tuple(encoded(self.name, choice) for choice in self.choices)
        if self.field.type is int and not (self.log and self.step):
            return range(self.low, self.high + 1, self.step or 1)
        return None if self.step is None else [self._at(place) for place in range(self.steps)]

    @property
    def steps(self) -> int:
        """How many values a range with a step has."""
        if self.log:
            gaps = (math.log(self.high) - math.log(self.low)) / math.log(self.step)
        else:
            gaps = (self.high - self.low) / self.step
        # The margin, as 0.9 / 0.1 is 8.999... for a machine; the limit, as it has an infinity too.
        return int(min(gaps, 2**31) + 1e-9) + 1

    def holds(self, value: Any) -> bool:
        """Whether this is one of keras-tuner's values."""
        if self.values is None:
            return type(value) is float and self.low <= value <= self.high
        return value in self.values

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Whether it is searched beside these values of earlier dimensions."""
        return all(
            parent in values and values[parent] in [encoded(parent, value) for value in wanted]
            for parent, wanted in self.when.items()
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON, and as `from_dict` reads it."""
        said = {"low": self.low, "high": self.high, "step": self.step, "log": self.log or None}
        said |= {"choices": self.choices or None, "when": self.when or None}
        return {name: _thawed(value) for name, value in said.items() if value is not None}

    def _at(self, place: int) -> float:
        value = self.low * self.step**place if self.log else self.low + place * self.step
        # 0.3, not 0.30000000000000004.
        return value if self.field.type is int else float(f"{value:.12g}")


def between(
    low: float,
    high: float,
    *,
    step: float | None = None,
    log: bool = False,
    when: Mapping[str, Sequence[Any]] | None = None,
) -> Dimension:
    """Every number from `low` to `high`, or every `step`; `log`: as many from 1 to 10 as to 100."""
    return Dimension("between", low, high, step, log, when=_parents(when))


def choice(*values: Any, when: Mapping[str, Sequence[Any]] | None = None) -> Dimension:
    """One of these values, which need no order."""
    return Dimension("choice", choices=tuple(map(_frozen, values)), when=_parents(when))


def from_dict(name: str, said: Any) -> Dimension:
    """The dimension that a JSON file has under this name. Raises ConfigError."""
    ranges, choices = {"low", "high", "step", "log", "when"}, {"choices", "when"}
    keys = set(said) if isinstance(said, dict) else set()
    is_choice = "choices" in keys and keys <= choices and isinstance(said["choices"], list)
    is_range = {"low", "high"} <= keys <= ranges
    if not (is_choice or is_range) or not isinstance(said.get("when", {}), dict):
        raise ConfigError(
            f"`space.{name}` must have low and high, or choices. Received: {short_json(said)}; write "
            '{"low": 1, "high": 9} or {"choices": [1, 2]}, and step, log and when as in a recipe.'
        )
    rest = {key: said[key] for key in keys - {"choices"}}
    made = choice(*said["choices"], **rest) if is_choice else between(**rest)
    return dataclasses.replace(made, name=name)


def parse(name: str, text: str) -> Dimension:
    """The dimension typed as LOW..HIGH, LOW..HIGH:STEP, either with :log, or as A|B|C.

    "0..0.9 when optimizer.name=sgd|rmsprop" is one with a condition.

    Raises:
      ConfigError: there is no such field, or the text is none of these, or a value is not the field's.
    """
    values, has_condition, condition = text.partition(" when ")
    made = _parse(field_of(name, text), values.strip())
    when = _condition(field_of(name, text), condition) if has_condition else {}
    return dataclasses.replace(made, name=name, when=when)


def _parse(field: Field, text: str) -> Dimension:
    if "|" in text or ".." not in text:
        return choice(*map(field.parse, text.split("|")))
    bounds, *rest = text.split(":")
    low, high = bounds.split("..", 1)
    log = rest[-1:] == ["log"]
    steps = rest[:-1] if log else rest
    if len(steps) > 1:
        raise field.error("must be LOW..HIGH, LOW..HIGH:STEP, either with :log, or A|B|C", text,
                          "write one of them")  # fmt: skip
    step = step_of(field).parse(steps[0]) if steps else None
    return between(field.parse(low), field.parse(high), step=step, log=log)


def _condition(field: Field, text: str) -> dict[str, tuple[Any, ...]]:
    said, has_values, values = text.partition("=")
    if not has_values:
        way_out = "write it as in `0..0.9 when optimizer.name=sgd`"
        raise field.error("must have FIELD=VALUE after `when`", text, way_out)
    parent = flag_or_field(said.strip())
    return {parent: tuple(map(field_of(parent, text).parse, values.strip().split("|")))}


def flag_or_field(said: str) -> str:
    """The name in a space of what was typed, as flags are typed without their dashes."""
    return f"--{said}" if f"--{said}" in FLAGS else said


@functools.cache
def searchable() -> dict[str, Field]:
    """Every field that a sweep can search, by the name it has in a space."""
    schemas = (TrainOptions, LaunchOptions)
    flags = {field.name: field for schema in schemas for field in fields(schema, "--")}
    found = {field.name: field for field in config_lib.fields() if field.name != "name"}
    return found | {name: flags[name] for name in FLAGS}


def field_of(name: str, value: Any) -> Field:
    """The field, called `space.NAME` in its errors. Raises ConfigError where there is none."""
    known = searchable()
    if name in known:
        return dataclasses.replace(known[name], name=f"space.{name}")
    close = nearest(name, known)
    meant = f"`space.{close.lstrip('-')}`"
    hint = f"did you mean {meant}?" if close else "`--help=config` lists all fields."
    raise ConfigError(
        f"`space.{short_json(name)[1:-1]}` is nothing that a sweep can search: a field of the config, or "
        f"one of {', '.join(FLAGS)}. Received: {short_json(value)}; {hint}"
    )


def step_of(field: Field) -> Field:
    """What the steps of a range of this field have to be."""
    return Field(f"{field.name} step", field.type, 2, "", above=0)


def encoded(name: str, value: Any) -> Any:
    """The value as keras-tuner knows it, which has no tuples, and takes True for 1."""
    field = searchable()[name]
    value = field.check(value)
    return field.shown(value) if isinstance(value, (tuple, bool)) else value


def as_typed(name: str, value: Any) -> str:
    """The text that a person would type for a value of keras-tuner's."""
    field = searchable()[name]
    value = field.parse(value) if isinstance(value, str) else field.check(value)
    return field.shown(value) if value != "" else ""


def _parents(when: Mapping[str, Any] | None) -> dict[str, tuple[Any, ...]]:
    return {
        name: tuple(map(_frozen, values)) if isinstance(values, (list, tuple)) else (values,)
        for name, values in (when or {}).items()
    }


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _thawed(value: Any) -> Any:
    """As JSON would give it back."""
    if isinstance(value, Mapping):
        return {name: _thawed(inner) for name, inner in value.items()}
    return list(map(_thawed, value)) if isinstance(value, tuple) else value
