"""Can every value of a space be tried?

`check` raises a ConfigError for the first that cannot, before the sweep starts.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainer.config import rules
from trainer.config import schema as config_lib
from trainer.config.fields import ConfigError, Field, build, short_json
from trainer.config.schema import ExperimentConfig
from trainer.tune.space.dimension import MAX_STEPS, Dimension, encode, space_field, step_field

if TYPE_CHECKING:
    from trainer.tune.space.space import Space


def check(space: "Space", base: ExperimentConfig) -> None:
    """Checks a space before the first trial.

    Every choice, and both ends of every range, must be valid in the base config alone or together with
    one value of another dimension. Other invalid combinations pass: such a trial fails, and its record
    has the error.

    Raises:
      ConfigError: a dimension cannot be searched. The error names it, on one line.
    """
    for index, dimension in enumerate(space.dimensions):
        field = space_field(dimension.name, dimension.as_dict())
        (_check_range if dimension.kind == "between" else _check_choices)(dimension, field)
        _check_when(dimension, space.dimensions[:index])
    for dimension in space.dimensions:
        _check_possible(space.dimensions, dimension, base)


def _check_range(dimension: Dimension, field: Field) -> None:
    if field.type not in (int, float):
        raise field.error(
            "must be a number to have a range", dimension.as_dict(), "use choice(...)"
        )
    low, high = field.check(dimension.low), field.check(dimension.high)
    if type(dimension.log) is not bool:
        raise field.error("must have `log` true or false", dimension.log, "try true")
    if low >= high:
        raise field.error("must have low below high", [low, high], "swap them")
    if dimension.log and low <= 0:
        raise field.error(
            "must have low above 0 for a log range", low, "raise it, or leave out log"
        )
    if dimension.step is not None:
        _check_step(dimension, field)


def _check_step(dimension: Dimension, field: Field) -> None:
    step = step_field(field).check(dimension.step)
    if dimension.log and step <= 1:
        raise step_field(field).error(
            "must be above 1 for a log range, whose values are multiplied by it", step, "try 2"
        )
    if dimension.steps < 2:
        raise step_field(field).error(
            f"must fit between {dimension.low} and {dimension.high}",
            step,
            "lower it, or leave it out",
        )
    if dimension.steps > MAX_STEPS and field.type is float:
        raise step_field(field).error(
            f"must make at most {MAX_STEPS:,} values", step, "raise it, or leave it out"
        )


def _check_choices(dimension: Dimension, field: Field) -> None:
    for value in dimension.choices:
        field.check(value)
    values = dimension.encoded_choices
    if len(values) < 2:
        raise field.error("must have at least two choices", dimension.choices,
                          f"set it with {_override(dimension.name)}=VALUE instead")  # fmt: skip
    repeated = [value for value in values if values.count(value) > 1]
    if repeated:
        raise field.error(
            "must have each choice once", dimension.choices, f"remove one {repeated[0]}"
        )


def _override(name: str) -> str:
    return name if name.startswith("--") else f"--config.{name}"


def _check_when(dimension: Dimension, earlier: Sequence[Dimension]) -> None:
    parents = {other.name: other for other in earlier if other.kind == "choice"}
    field = space_field(dimension.name, dimension.as_dict())
    if len(dimension.when) > 1:
        names = list(dimension.when)
        raise field.error(
            "must name only one dimension in `when`", names, "keep one; it may have a `when` itself"
        )
    for parent, wanted in dimension.when.items():
        if parent not in parents:
            rule = "must name in `when` a choice that comes before it"
            fix = f"use one of {', '.join(parents)}" if parents else "add that choice before it"
            raise field.error(rule, parent, fix)
        if not wanted:
            raise field.error(
                "must name values in `when`", dimension.as_dict(), f"name some of `{parent}`"
            )
        for value in wanted:
            if (
                encode(parent, space_field(parent, value).check(value))
                not in parents[parent].encoded_choices
            ):
                rule = f"must name in `when` choices that `space.{parent}` has"
                raise field.error(rule, value, f"use one of {short_json(parents[parent].choices)}")


def _check_possible(
    dimensions: Sequence[Dimension], dimension: Dimension, base: ExperimentConfig
) -> None:
    by_name = {one.name: one for one in dimensions}
    for value in _values_to_check(dimension):
        errors = []
        for setting in _settings_with(by_name, dimension, value):
            try:
                rules.validate(_with_values(base, setting))
                break
            except ConfigError as error:
                errors.append(error)
        else:
            raise ConfigError(
                f"`space.{dimension.name}` has {short_json(value)}, for which {errors[0]}"
            )


def _values_to_check(dimension: Dimension) -> Sequence[Any]:
    if dimension.kind == "choice":
        return dimension.choices
    return dimension.low, dimension.high if dimension.values is None else dimension.values[-1]


def _settings_with(
    by_name: Mapping[str, Dimension], dimension: Dimension, value: Any
) -> Iterator[dict[str, Any]]:
    """The value alone, and then together with each value of each other dimension."""
    alone = list(_settings_of(by_name, dimension, value))
    yield from alone
    for other in by_name.values():
        for other_value in _values_to_check(other):
            pairs = itertools.product(_settings_of(by_name, other, other_value), alone)
            for theirs, ours in pairs:
                if all(theirs.get(name, wanted) == wanted for name, wanted in ours.items()):
                    yield theirs | ours


def _settings_of(
    by_name: Mapping[str, Dimension], dimension: Dimension, value: Any
) -> Iterator[dict[str, Any]]:
    """The value with only the values that its condition needs."""
    if not dimension.when:
        yield {dimension.name: value}
    for parent, wanted in dimension.when.items():
        for parent_value in wanted:
            for setting in _settings_of(by_name, by_name[parent], parent_value):
                yield setting | {dimension.name: value}


def _with_values(base: ExperimentConfig, setting: Mapping[str, Any]) -> ExperimentConfig:
    values = config_lib.flatten(base)
    values |= {name: value for name, value in setting.items() if name in values}
    return build(ExperimentConfig, values)
