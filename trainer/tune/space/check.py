"""Can every value of a space be tried?"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainer.config import rules
from trainer.config import schema as config_lib
from trainer.config.fields import ConfigError, Field, build, short_json
from trainer.config.schema import ExperimentConfig
from trainer.tune.space.dimension import MOST_STEPS, Dimension, encoded, field_of, step_of

if TYPE_CHECKING:
    from trainer.tune.space.space import Space


def check(space: "Space", base: ExperimentConfig) -> None:
    """Refuses what cannot be searched, before the first trial.

    A choice, or an end of a range, that is valid neither alone in the base config nor beside any one
    value of another dimension is refused too. Values that are bad only together pass: each such trial
    fails by itself, with the reason in its record.

    Raises:
      ConfigError: one line, with the name of the dimension.
    """
    for place, dimension in enumerate(space.dimensions):
        field = field_of(dimension.name, dimension.as_dict())
        (_check_range if dimension.kind == "between" else _check_choices)(dimension, field)
        _check_when(dimension, space.dimensions[:place])
    for dimension in space.dimensions:
        _check_possible(space.dimensions, dimension, base)


def _check_range(dimension: Dimension, field: Field) -> None:
    if field.type not in (int, float):
        raise field.error("is no number, so has no range", dimension.as_dict(), "use choice(...)")
    low, high = field.check(dimension.low), field.check(dimension.high)
    if type(dimension.log) is not bool:
        raise field.error("has `log` as true or false", dimension.log, "try true")
    if low >= high:
        raise field.error("must have low below high", [low, high], "swap them, or leave it out")
    if dimension.log and low <= 0:
        raise field.error(
            "must have low above 0 where it is log", low, "raise it, or leave out log"
        )
    if dimension.step is not None:
        _check_step(dimension, field)


def _check_step(dimension: Dimension, field: Field) -> None:
    step = step_of(field).check(dimension.step)
    if dimension.log and step <= 1:
        raise step_of(field).error(
            "must be above 1 where it is log, as values are multiplied with it", step, "try 2"
        )
    if dimension.steps < 2:
        raise step_of(field).error(
            f"must fit between {dimension.low} and {dimension.high}",
            step,
            "lower it, or leave it out",
        )
    if dimension.steps > MOST_STEPS and field.type is float:
        raise step_of(field).error(
            f"must make at most {MOST_STEPS:,} values", step, "raise it, or leave it out"
        )


def _check_choices(dimension: Dimension, field: Field) -> None:
    for value in dimension.choices:
        field.check(value)
    values = dimension.values
    if len(values) < 2:
        raise field.error("must have at least two choices", dimension.choices,
                          f"set it with {_override(dimension.name)}=VALUE instead")  # fmt: skip
    double = [value for value in values if values.count(value) > 1]
    if double:
        raise field.error(
            "must have each choice once", dimension.choices, f"take out one {double[0]}"
        )


def _override(name: str) -> str:
    return name if name.startswith("--") else f"--config.{name}"


def _check_when(dimension: Dimension, earlier: Sequence[Dimension]) -> None:
    parents = {other.name: other for other in earlier if other.kind == "choice"}
    field = field_of(dimension.name, dimension.as_dict())
    if len(dimension.when) > 1:
        names = list(dimension.when)
        raise field.error(
            "may depend on one other", names, "name one in `when`; it may depend on more"
        )
    for parent, wanted in dimension.when.items():
        if parent not in parents:
            rule = "must name in `when` a choice that stands before it"
            raise field.error(
                rule, parent, f"take one of {', '.join(parents) or 'those you add there'}"
            )
        if not wanted:
            raise field.error(
                "must name values in `when`", dimension.as_dict(), f"name some of `{parent}`"
            )
        for value in wanted:
            if encoded(parent, field_of(parent, value).check(value)) not in parents[parent].values:
                rule = f"must name in `when` choices that `space.{parent}` has"
                raise field.error(rule, value, f"take one of {short_json(parents[parent].choices)}")


def _check_possible(
    dimensions: Sequence[Dimension], one: Dimension, base: ExperimentConfig
) -> None:
    named = {dimension.name: dimension for dimension in dimensions}
    for value in _ends(one):
        errors = []
        for setting in _settings_with(named, one, value):
            try:
                rules.validate(_changed(base, setting))
                break
            except ConfigError as error:
                errors.append(error)
        else:
            raise ConfigError(f"`space.{one.name}` has {short_json(value)}, for which {errors[0]}")


def _ends(dimension: Dimension) -> Sequence[Any]:
    if dimension.kind == "choice":
        return dimension.choices
    return dimension.low, dimension.high if dimension.values is None else dimension.values[-1]


def _settings_with(
    named: Mapping[str, Dimension], one: Dimension, value: Any
) -> Iterator[dict[str, Any]]:
    """The value alone, and then beside each value of each other dimension."""
    alone = list(_alone(named, one, value))
    yield from alone
    for other in named.values():
        for beside in _ends(other):
            for theirs, ours in itertools.product(_alone(named, other, beside), alone):
                if all(theirs.get(name, wanted) == wanted for name, wanted in ours.items()):
                    yield theirs | ours


def _alone(named: Mapping[str, Dimension], one: Dimension, value: Any) -> Iterator[dict[str, Any]]:
    """The value with nothing but what it depends on."""
    if not one.when:
        yield {one.name: value}
    for parent, wanted in one.when.items():
        for above in wanted:
            for setting in _alone(named, named[parent], above):
                yield setting | {one.name: value}


def _changed(base: ExperimentConfig, setting: Mapping[str, Any]) -> ExperimentConfig:
    values = config_lib.flatten(base)
    values |= {name: value for name, value in setting.items() if name in values}
    return build(ExperimentConfig, values)
