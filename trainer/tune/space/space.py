"""Which values may a trial take?

A recipe says so in `get_space()`, which returns a dict from dotted names to what `between` and `choice`
return; or a file named by --space does, or --space.NAME=VALUES on the command line.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.config import recipes
from trainer.config.fields import ConfigError, short_json
from trainer.tune.space.dimension import (
    FLAGS,
    Dimension,
    as_typed,
    between,
    choice,
    encoded,
    flag_or_field,
    from_dict,
    parse,
)

if TYPE_CHECKING:
    import keras_tuner

__all__ = ["Dimension", "Space", "between", "choice", "load"]


@dataclasses.dataclass(frozen=True)
class Space:
    """All that a sweep searches; what `when` names stands before what it is said of."""

    dimensions: tuple[Dimension, ...]

    @property
    def size(self) -> int | None:
        """How many different settings there are; None: as many as there are numbers."""
        count = self._count(self.dimensions, {})
        return None if count == math.inf else count

    def settings(self) -> Iterator[dict[str, Any]]:
        """Every setting of a space that has a size, with keras-tuner's values by name."""
        yield from _settings(self.dimensions, {})

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether these, keras-tuner's, are a setting of this space."""
        active = [dimension for dimension in self.dimensions if dimension.is_active(values)]
        return {dimension.name for dimension in active} == set(values) and all(
            dimension.holds(values[dimension.name]) for dimension in active
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON, which `load` reads as a file."""
        return {dimension.name: dimension.as_dict() for dimension in self.dimensions}

    def hyperparameters(self) -> "keras_tuner.HyperParameters":
        """The space as keras-tuner's oracles take it."""
        import keras_tuner  # Late: it takes seconds, which --help and every run would pay.

        found = keras_tuner.HyperParameters()
        for dimension in self.dimensions:
            with ExitStack() as scopes:
                for parent, values in self._conditions(dimension):
                    scopes.enter_context(found.conditional_scope(parent, values))
                _register(found, dimension)
        return found

    def split(self, values: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
        """Keras-tuner's values as typed: overrides of the config, and flags of launch and train."""
        texts = {name: as_typed(name, value) for name, value in values.items() if "/" not in name}
        flags = {name: text for name, text in texts.items() if name in FLAGS}
        return {name: text for name, text in texts.items() if name not in FLAGS}, flags

    def _count(self, dimensions: tuple[Dimension, ...], chosen: dict[str, Any]) -> float:
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
        """What must hold for the dimension to be searched, the outermost first."""
        for parent, values in dimension.when.items():
            (above,) = (other for other in self.dimensions if other.name == parent)
            yield from self._conditions(above)
            yield parent, [encoded(parent, value) for value in values]


def load(config: str, space: str, typed: Mapping[str, str]) -> Space:
    """The space of a sweep, not yet checked.

    Args:
      config: the recipe that is searched around, whose own `get_space` is the space by default.
      space: another recipe, or a JSON file: {"optimizer.learning_rate": {"low": 1e-4, "high": 0.1,
        "log": true}, "model.hidden_units": {"choices": [[64], [128]]}}; "" where none was named.
      typed: single dimensions as they were typed, which replace those or come after them; what is
        replaced keeps its condition, unless another was typed.

    Raises:
      ConfigError: one of them cannot be read, or all of them together search nothing.
    """
    found = _of_file(recipes.find(space, "--space")) if space else _of_config(recipes.find(config))
    for said, text in typed.items():
        name = flag_or_field(said)
        parsed = parse(name, text)
        when = parsed.when or (found[name].when if name in found else {})
        found[name] = dataclasses.replace(parsed, when=when)
    if not found:
        raise ConfigError(
            f"`--space` is missing, and {short_json(config)} has no `get_space()`. Received: nothing to "
            "search; write one, or try --space.optimizer.learning_rate=1e-4..1e-1:log."
        )
    return Space(tuple(found.values()))


def _of_file(path: Path) -> dict[str, Dimension]:
    if path.suffix != ".json":
        return _of_recipe(path, recipes.run(path, "get_space", flag="--space"))
    text = recipes.read(path, "--space")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"`--space` must be JSON, but {error}. Received: {path}; correct it."
        ) from None
    if not isinstance(said, dict):
        raise ConfigError(
            f"`--space` must be a JSON object. Received: {short_json(said)}; write "
            '{"train.seed": {"low": 0, "high": 9}}.'
        )
    return {name: from_dict(name, values) for name, values in said.items()}


def _of_config(path: Path) -> dict[str, Dimension]:
    if path.suffix == ".json":  # The config of an earlier run, which searches nothing.
        return {}
    return _of_recipe(path, recipes.run(path, "get_space", default={}))


def _of_recipe(path: Path, said: Any) -> dict[str, Dimension]:
    dimensions = said.items() if isinstance(said, dict) else [("", said)]
    for name, dimension in dimensions:
        if not isinstance(name, str) or not isinstance(dimension, Dimension):
            raise ConfigError(
                f"`get_space` of {path} must return a dict from names to `between` or `choice`. "
                f"Received: {short_json(dimension)} for {short_json(name)}; see "
                f"{recipes.FOLDER}/digits_sweep.py."
            )
    return {name: dataclasses.replace(dimension, name=name) for name, dimension in dimensions}


def _settings(
    dimensions: tuple[Dimension, ...], chosen: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    if not dimensions:
        yield chosen
        return
    first, *rest = dimensions
    if not first.is_active(chosen):
        yield from _settings(rest, chosen)
        return
    for value in first.values:
        yield from _settings(rest, chosen | {first.name: value})


def _register(found: "keras_tuner.HyperParameters", dimension: Dimension) -> None:
    name, values = dimension.name, dimension.values
    sampling = "log" if dimension.log else "linear"
    if values is None:
        found.Float(name, dimension.low, dimension.high, sampling=sampling)
    elif isinstance(values, range):
        found.Int(name, values[0], values[-1], step=dimension.step, sampling=sampling)
    else:  # Also the steps of a range, of which keras-tuner would leave out the last: 0.9 by 0.1.
        found.Choice(name, list(values))
