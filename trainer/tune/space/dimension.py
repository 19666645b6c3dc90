"""Which values may one field take in a sweep?

A `Dimension` is a range or a choice, for a config field or for a flag with which a trial is started.
keras-tuner's values are numbers and texts: there (128, 64) is "128,64", and True is "true".
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

MAX_STEPS = 10_000  # keras-tuner goes through all steps of a range for each trial.


@dataclasses.dataclass(frozen=True)
class Dimension:
    """The values of the field `name`: a range from `low` to `high`, both included, or `choices`.

    Attributes:
      kind: "between" or "choice".
      low, high: the ends of the range.
      step: the difference of two neighboring values, or their ratio if `log`; None: the range has all
        numbers between its ends.
      log: whether values are drawn evenly by their logarithm.
      choices: the values of a choice.
      when: the dimension is searched only if the dimension with this name has one of these values;
        otherwise the field keeps the recipe's value.
      name: a config field's dotted name, or one of FLAGS.
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
        return searchable_fields()[self.name]

    @property
    def bounds(self) -> tuple[float, float]:
        """The ends of a range. Only for a range: a choice has none."""
        assert self.low is not None and self.high is not None
        return self.low, self.high

    @property
    def values(self) -> Sequence[Any] | None:
        """All values in order, as keras-tuner has them; None for a range without steps."""
        if self.kind == "choice":
            return self.encoded_choices
        if self.field.type is int and not (self.log and self.step):
            low, high = self.bounds
            return range(int(low), int(high) + 1, int(self.step or 1))
        if self.step is None:
            return None
        return [self._at(index, self.step) for index in range(self.steps)]

    @property
    def encoded_choices(self) -> tuple[Any, ...]:
        """The values of a choice, as keras-tuner has them."""
        return tuple(encode(self.name, choice) for choice in self.choices)

    @property
    def steps(self) -> int:
        """The number of values of a range with a step. Only for such a range."""
        assert self.step is not None
        low, high = self.bounds
        if self.log:
            gaps = (math.log(high) - math.log(low)) / math.log(self.step)
        else:
            gaps = (high - low) / self.step
        # 1e-9, as 0.9 / 0.1 is 8.999...; 2**31, as `gaps` may be infinite.
        return int(min(gaps, 2**31) + 1e-9) + 1

    def holds(self, value: Any) -> bool:
        """Whether this is one of keras-tuner's values."""
        if self.values is None:
            low, high = self.bounds
            return type(value) is float and low <= value <= high
        return value in self.values

    def is_active(self, values: Mapping[str, Any]) -> bool:
        """Whether it is searched, given the values of earlier dimensions."""
        return all(
            parent in values and values[parent] in [encode(parent, value) for value in wanted]
            for parent, wanted in self.when.items()
        )

    def as_dict(self) -> dict[str, Any]:
        """The dimension in JSON's types, as `from_dict` reads it."""
        values: dict[str, Any] = {"low": self.low, "high": self.high, "step": self.step}
        values |= {"log": self.log or None}
        values |= {"choices": self.choices or None, "when": self.when or None}
        return {name: _to_lists(value) for name, value in values.items() if value is not None}

    def _at(self, index: int, step: float) -> float:
        low, _ = self.bounds
        value = low * step**index if self.log else low + index * step
        # Rounded to 12 digits: 0.3, not 0.30000000000000004.
        return value if self.field.type is int else float(f"{value:.12g}")


def between(
    low: float,
    high: float,
    *,
    step: float | None = None,
    log: bool = False,
    when: Mapping[str, Sequence[Any]] | None = None,
) -> Dimension:
    """The numbers from `low` to `high`, both included.

    Args:
      step: the difference of two neighboring values, or their ratio if `log`; None: all numbers.
      log: draw values evenly by their logarithm, so from 1 to 10 as often as from 10 to 100.
      when: search this field only if the field named here has one of the values given here.
    """
    return Dimension("between", low, high, step, log, when=_parents(when))


def choice(*values: Any, when: Mapping[str, Sequence[Any]] | None = None) -> Dimension:
    """One of these values, in no particular order.

    Args:
      when: search this field only if the field named here has one of the values given here.
    """
    return Dimension("choice", choices=tuple(map(_to_tuples, values)), when=_parents(when))


def from_dict(name: str, given: Any) -> Dimension:
    """The dimension that a JSON file has under this name.

    Raises:
      ConfigError: it is not a range or a choice.
    """
    ranges, choices = {"low", "high", "step", "log", "when"}, {"choices", "when"}
    keys = set(given) if isinstance(given, dict) else set()
    is_choice = "choices" in keys and keys <= choices and isinstance(given["choices"], list)
    is_range = {"low", "high"} <= keys <= ranges
    if not (is_choice or is_range) or not isinstance(given.get("when", {}), dict):
        raise ConfigError(
            f"`space.{name}` must have low and high, or choices. Received: {short_json(given)}; write "
            '{"low": 1, "high": 9} or {"choices": [1, 2]}, and step, log and when as in a recipe.'
        )
    rest = {key: given[key] for key in keys - {"choices"}}
    dimension = choice(*given["choices"], **rest) if is_choice else between(**rest)
    return _unquoted(dataclasses.replace(dimension, name=name))


def _unquoted(dimension: Dimension) -> Dimension:
    """The dimension with numbers in place of texts such as "0.1", which YAML also makes of 1e-4."""
    field = space_field(dimension.name, dimension.as_dict())

    def unquoted(value: Any, field: Field) -> Any:
        return field.parse(value) if isinstance(value, str) and field.type is not str else value

    return dataclasses.replace(
        dimension,
        low=unquoted(dimension.low, field),
        high=unquoted(dimension.high, field),
        step=unquoted(dimension.step, step_field(field)),
        choices=tuple(unquoted(value, field) for value in dimension.choices),
        when={
            parent: tuple(unquoted(value, space_field(parent, value)) for value in values)
            for parent, values in dimension.when.items()
        },
    )


def parse(name: str, text: str) -> Dimension:
    """The dimension from LOW..HIGH, LOW..HIGH:STEP, either with :log at the end, or from A|B|C.

    A condition may follow, as in "0..0.9 when optimizer.name=sgd|rmsprop".

    Raises:
      ConfigError: the field is unknown, the text has none of these forms, or a value is invalid.
    """
    values, has_condition, condition = text.partition(" when ")
    field = space_field(name, text)
    dimension = _parse_values(field, values.strip())
    when = _parse_condition(field, condition) if has_condition else {}
    return dataclasses.replace(dimension, name=name, when=when)


def _parse_values(field: Field, text: str) -> Dimension:
    if "|" in text or ".." not in text:
        return choice(*map(field.parse, text.split("|")))
    bounds, *rest = text.split(":")
    low, high = bounds.split("..", 1)
    log = rest[-1:] == ["log"]
    steps = rest[:-1] if log else rest
    if len(steps) > 1:
        raise field.error("must be LOW..HIGH, LOW..HIGH:STEP, either with :log, or A|B|C", text,
                          "use one of these forms")  # fmt: skip
    step = step_field(field).parse(steps[0]) if steps else None
    return between(field.parse(low), field.parse(high), step=step, log=log)


def _parse_condition(field: Field, text: str) -> dict[str, tuple[Any, ...]]:
    typed_name, has_values, values = text.partition("=")
    if not has_values:
        fix = "write it as in `0..0.9 when optimizer.name=sgd`"
        raise field.error("must have FIELD=VALUE after `when`", text, fix)
    parent = dimension_name(typed_name.strip())
    return {parent: tuple(map(space_field(parent, text).parse, values.strip().split("|")))}


def dimension_name(typed_name: str) -> str:
    """The name of the dimension that was typed; flags are typed without their dashes."""
    return f"--{typed_name}" if f"--{typed_name}" in FLAGS else typed_name


@functools.cache
def searchable_fields() -> dict[str, Field]:
    """Every field that a sweep can vary, by its name in a space. `name` is that of a comparison's."""
    schemas = (TrainOptions, LaunchOptions)
    flags = {field.name: field for schema in schemas for field in fields(schema, "--")}
    found = {field.name: field for field in config_lib.fields()}
    return found | {name: flags[name] for name in FLAGS}


def space_field(name: str, value: Any) -> Field:
    """The field, named `space.NAME` in its errors.

    Raises:
      ConfigError: a sweep cannot search a field of this name. `value` is what was received for it.
    """
    known = {own: field for own, field in searchable_fields().items() if own != "name"}
    if name in known:
        return dataclasses.replace(known[name], name=f"space.{name}")
    close = nearest(name, known)
    meant = f"`space.{close.lstrip('-')}`"
    hint = f"did you mean {meant}?" if close else "`--help=config` lists all fields."
    raise ConfigError(
        f"`space.{short_json(name)[1:-1]}` must name a config field, or one of {', '.join(FLAGS)}. "
        f"Received: {short_json(value)}; {hint}"
    )


def step_field(field: Field) -> Field:
    """The field that the step of a range of this field must fit."""
    return Field(f"{field.name} step", field.type, 2, "", above=0)


def encode(name: str, value: Any) -> Any:
    """The value for keras-tuner, which has no tuples and does not tell True from 1."""
    field = searchable_fields()[name]
    value = field.check(value)
    return field.shown(value) if isinstance(value, (tuple, bool)) else value


def decode(name: str, value: Any) -> str:
    """The text that a person would type for one of keras-tuner's values."""
    field = searchable_fields()[name]
    value = field.parse(value) if isinstance(value, str) else field.check(value)
    return field.shown(value) if value != "" else ""


def _parents(when: Mapping[str, Any] | None) -> dict[str, tuple[Any, ...]]:
    return {
        name: tuple(map(_to_tuples, values)) if isinstance(values, (list, tuple)) else (values,)
        for name, values in (when or {}).items()
    }


def _to_tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _to_lists(value: Any) -> Any:
    """The value as it would be after a round trip through JSON."""
    if isinstance(value, Mapping):
        return {name: _to_lists(inner) for name, inner in value.items()}
    return list(map(_to_lists, value)) if isinstance(value, tuple) else value
