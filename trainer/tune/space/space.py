"""Which combinations of values may a trial have?

`load` reads the `Space` of a sweep: from a recipe's `get_space()`, which returns a dict from dotted names
to `between(...)` or `choice(...)`, from the file that --space names, and from --space.NAME=VALUES.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.config import recipes
from trainer.config.fields import ConfigError, short_json
from trainer.tune.space import space_file
from trainer.tune.space.dimension import (
    FLAGS,
    Dimension,
    between,
    choice,
    decode,
    dimension_name,
    encode,
    from_dict,
    parse,
)

if TYPE_CHECKING:
    import keras_tuner

__all__ = ["Dimension", "Space", "between", "choice", "load"]


@dataclasses.dataclass(frozen=True)
class Space:
    """All dimensions of a sweep. A dimension comes after the one that its `when` names."""

    dimensions: tuple[Dimension, ...]

    @property
    def size(self) -> int | None:
        """The number of different settings; None if a range without steps makes it infinite."""
        count = self._count(self.dimensions, {})
        return None if count == math.inf else int(count)

    def settings(self) -> Iterator[dict[str, Any]]:
        """Every setting of a finite space: keras-tuner's values by dimension name."""
        yield from _settings(self.dimensions, {})

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether these values of keras-tuner's are a setting of this space."""
        active = [dimension for dimension in self.dimensions if dimension.is_active(values)]
        return {dimension.name for dimension in active} == set(values) and all(
            dimension.holds(values[dimension.name]) for dimension in active
        )

    def as_dict(self) -> dict[str, Any]:
        """The space in JSON's types, as `load` reads it from a file."""
        return {dimension.name: dimension.as_dict() for dimension in self.dimensions}

    def hyperparameters(self) -> "keras_tuner.HyperParameters":
        """The space in the form that keras-tuner's oracles take."""
        import keras_tuner  # Imported here, as it takes seconds, also in --help and every run.

        hyperparameters = keras_tuner.HyperParameters()
        for dimension in self.dimensions:
            with ExitStack() as scopes:
                for parent, values in self._conditions(dimension):
                    scopes.enter_context(hyperparameters.conditional_scope(parent, values))
                _register(hyperparameters, dimension)
        return hyperparameters

    def split(self, values: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
        """Splits keras-tuner's values into overrides of the config and flags of launch and train.

        Both map names to texts, as a person would type them.
        """
        texts = {name: decode(name, value) for name, value in values.items() if "/" not in name}
        flags = {name: text for name, text in texts.items() if name in FLAGS}
        return {name: text for name, text in texts.items() if name not in FLAGS}, flags

    def _count(self, dimensions: Sequence[Dimension], chosen: dict[str, Any]) -> float:
        if not dimensions:
            return 1
        first, *rest = dimensions
        if not first.is_active(chosen):
            return self._count(rest, chosen)
        if first.values is None:
            return math.inf
        if not any(first.name in later.when for later in rest):
            return len(first.values) * self._count(rest, chosen)
        return sum(self._count(rest, chosen | {first.name: value}) for value in first.values)

    def _conditions(self, dimension: Dimension) -> Iterator[tuple[str, list[Any]]]:
        """The conditions under which the dimension is searched, the outermost first."""
        for parent, values in dimension.when.items():
            (other,) = (one for one in self.dimensions if one.name == parent)
            yield from self._conditions(other)
            yield parent, [encode(parent, value) for value in values]


def load(config: str, space: str, typed: Mapping[str, str]) -> Space:
    """Loads the space of a sweep, without checking it.

    Args:
      config: the recipe whose fields are searched. Its `get_space` is the default space.
      space: another recipe, or a JSON or YAML file such as {"optimizer.learning_rate": {"low": 1e-4,
        "high": 0.1, "log": true}, "model.hidden_units": {"choices": [[64], [128]]}}; "" for the default.
      typed: dimensions from the command line, by name. They replace those of the space, or are added
        to it. A replaced dimension keeps its condition, unless a new one was typed.

    Raises:
      ConfigError: one of them cannot be read, or there is no dimension at all.
    """
    if space:
        dimensions = _from_file(recipes.find(space, "--space"))
    else:
        dimensions = _from_config(recipes.find(config))
    for typed_name, text in typed.items():
        name = dimension_name(typed_name)
        parsed = parse(name, text)
        when = parsed.when or (dimensions[name].when if name in dimensions else {})
        dimensions[name] = dataclasses.replace(parsed, when=when)
    if not dimensions:
        raise ConfigError(
            f"`--space` is missing, and {short_json(config)} has no `get_space()`. Received: nothing to "
            "search; write one, or try --space.optimizer.learning_rate=1e-4..1e-1:log."
        )
    return Space(tuple(dimensions.values()))


def _from_file(path: Path) -> dict[str, Dimension]:
    if path.suffix == ".py":
        return _from_recipe(path, recipes.run(path, "get_space", flag="--space"))
    given = space_file.parse(path, recipes.read(path, "--space"))
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise ConfigError(
            f"`--space` must be an object of fields by name. Received: {short_json(given)}; write "
            '{"train.seed": {"low": 0, "high": 9}}.'
        )
    return {name: from_dict(name, values) for name, values in given.items()}


def _from_config(path: Path) -> dict[str, Dimension]:
    if path.suffix == ".json":  # The config of an earlier run, which has no space.
        return {}
    return _from_recipe(path, recipes.run(path, "get_space", default={}))


def _from_recipe(path: Path, given: Any) -> dict[str, Dimension]:
    dimensions = given.items() if isinstance(given, dict) else [("", given)]
    for name, dimension in dimensions:
        if not isinstance(name, str) or not isinstance(dimension, Dimension):
            raise ConfigError(
                f"`get_space` of {path} must return a dict from names to `between` or `choice`. "
                f"Received: {short_json(dimension)} for {short_json(name)}; see "
                f"{recipes.FOLDER}/digits_sweep.py."
            )
    return {name: dataclasses.replace(dimension, name=name) for name, dimension in dimensions}


def _settings(dimensions: Sequence[Dimension], chosen: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not dimensions:
        yield chosen
        return
    first, *rest = dimensions
    if not first.is_active(chosen):
        yield from _settings(rest, chosen)
        return
    values = first.values
    assert values is not None  # The space is finite.
    for value in values:
        yield from _settings(rest, chosen | {first.name: value})


def _register(hyperparameters: "keras_tuner.HyperParameters", dimension: Dimension) -> None:
    name, values = dimension.name, dimension.values
    sampling = "log" if dimension.log else "linear"
    if values is None:
        hyperparameters.Float(name, *dimension.bounds, sampling=sampling)
    elif isinstance(values, range):
        hyperparameters.Int(name, values[0], values[-1], step=dimension.step, sampling=sampling)
    else:  # Also for a range with steps: keras-tuner would omit the last, as 0.9 in steps of 0.1.
        hyperparameters.Choice(name, list(values))
