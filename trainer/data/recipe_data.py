"""Which data does a config name, where its recipe may bring its own?

`load` returns what the recipe's `get_data(config)` makes of it, or else the data set of `data.name`. A
recipe returns {"train": source, "test": source}, and perhaps "validation": source. A source is a pair
(features, targets) of arrays, or of arrays by name; or examples one by one, see `examples.py`.
"""

import hashlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import recipes, user_code
from trainer.config.fields import short_json
from trainer.config.recipes import Recipe
from trainer.config.schema import ExperimentConfig
from trainer.data import augment, registry, source_data, validation
from trainer.data import examples as examples_lib
from trainer.data.dataset import Columns, DataError, Dataset, Split

_SPLITS = ("train", "test")
_OPTIONAL = ("validation",)
_KINDS = "fiubSU"  # NumPy's letters for numbers, truth values and text.


def recipe_of(config: ExperimentConfig) -> Recipe | None:
    """The recipe that makes the model of a config; None where the config describes it.

    Raises ConfigError where the file cannot be read, or fails.
    """
    if not config.recipe:
        return None
    recipe = recipes.load(Path(config.recipe), "--config.recipe")
    if not recipe.defines("get_model"):
        raise DataError(
            "`recipe` must be a file that defines `get_model(config, data)`. Received: "
            f"{short_json(config.recipe)}; define it, or leave `recipe` empty."
        )
    return recipe


def brings_data(config: ExperimentConfig) -> bool:
    """Whether the recipe of a config has a `get_data` of its own. Raises as `recipe_of`."""
    recipe = recipe_of(config)
    return bool(recipe and recipe.defines("get_data"))


def load(config: ExperimentConfig) -> Dataset:
    """The data of a config, cut to its first `data.train_examples` training examples.

    Raises:
      DataError: it is missing, damaged or not what it has to be.
      RecipeError: the recipe's own code failed.
    """
    recipe = recipe_of(config)
    dataset = validation.set_aside(
        _load(recipe, config), config.data.validation_fraction, config.train.seed
    )
    if augmentation := augment.of(recipe, dataset.train, config.train.seed):
        augmentation.check()
    return dataset


def _load(recipe: Recipe | None, config: ExperimentConfig) -> Dataset:
    if not recipe or not recipe.defines("get_data"):
        found = registry.load(config.data)
        return source_data.for_own_model(found) if recipe and config.data.source else found
    # Data made from the global generators is the same on every task, and when a run resumes.
    random.seed(config.train.seed)
    np.random.seed(config.train.seed % 2**32)
    found = recipe.call("get_data", config)
    if not isinstance(found, Mapping) or not {*_SPLITS} <= {*found} <= {*_SPLITS, *_OPTIONAL}:
        raise _error(recipe, "must return {'train': source, 'test': source}", _shown(found))
    splits = {name: _split(recipe, config, name, found[name]) for name in found}
    train, test = splits["train"], splits["test"]
    for name in splits:
        _check_alike(recipe, train, splits[name], name)
    wanted = config.data.train_examples
    if wanted > len(train):
        raise DataError(
            f"`data.train_examples` must be 0 (all) to {len(train)} for {recipe.path}. Received: "
            f"{wanted}."
        )
    if wanted:
        train = train.first(wanted)
    described = f"{len(train)} examples to train on and {len(test)} to test on, from {recipe.path}"
    return Dataset(
        recipe.path.stem,
        train,
        test,
        0,
        0,
        described,
        feature_scale=None,
        validation=splits.get("validation"),
    )


def source_fingerprint(recipe: Recipe) -> str:
    """One sha256 over all files of a recipe that it has imported so far."""
    return hashlib.sha256(repr(sorted(recipe.sources().items())).encode()).hexdigest()


def _split(recipe: Recipe, config: ExperimentConfig, name: str, source: Any) -> Split:
    """The arrays of one source. Raises DataError."""
    what = (
        f"must return a source for {name!r} that is a pair (features, targets), or examples by [i]"
    )
    if not isinstance(source, tuple):
        source = _stacked(recipe, config, what, source)
    if len(source) != 2:
        raise _error(recipe, what, _shown(source))
    features, targets = (
        _columns(recipe, f"{name} {part}", columns)
        for part, columns in zip(("features", "targets"), source, strict=True)
    )
    split = Split(features, targets)
    lengths = {len(array) for array in split.arrays}
    if len(lengths) > 1 or lengths == {0}:
        rule = f"must return at least one example for {name!r}, and arrays of one length"
        raise _error(
            recipe, rule, f"lengths {', '.join(str(len(array)) for array in split.arrays)}"
        )
    return split


def _stacked(
    recipe: Recipe, config: ExperimentConfig, what: str, source: Any
) -> tuple[Columns, Columns]:
    """The columns of a source that is read example by example."""
    if not examples_lib.are_examples(source):
        raise _error(recipe, what, _shown(source))
    with user_code.reported(recipe.path):
        examples = examples_lib.read(source)
    if examples and isinstance(examples[0], Mapping):
        return examples_lib.by_name(f"`get_data` of {recipe.path}", examples, config.data)
    if not examples or not all(isinstance(one, tuple | list) and len(one) == 2 for one in examples):
        raise _error(recipe, what, _shown(examples[0] if examples else source))
    features, targets = zip(*examples, strict=True)
    return _stack(recipe, what, features), _stack(recipe, what, targets)


def _stack(recipe: Recipe, what: str, values: Sequence[Any]) -> Columns:
    first = values[0]
    try:
        if isinstance(first, Mapping):
            if unlike := [v for v in values if {*v} != {*first}]:
                raise KeyError(f"{', '.join(first)} and {', '.join(unlike[0])}")
            return {name: np.stack([np.asarray(v[name]) for v in values]) for name in first}
        return np.stack([np.asarray(value) for value in values])
    except (ValueError, KeyError, TypeError) as error:
        raise _error(recipe, f"{what} of one shape", f"{type(error).__name__}: {error}") from None


def _columns(recipe: Recipe, what: str, columns: Any) -> Columns:
    if isinstance(columns, Mapping):
        if not columns:
            raise _error(recipe, f"must return at least one array as {what}", "none")
        return {
            str(name): _array(recipe, f"{what}[{name!r}]", array) for name, array in columns.items()
        }
    return _array(recipe, what, columns)


def _array(recipe: Recipe, what: str, values: Any) -> np.ndarray:
    """In Keras's own float type where they are other floating-point numbers."""
    if isinstance(values, np.ma.MaskedArray):
        raise _error(recipe, f"must return an array without a mask as {what}", _shown(values))
    try:
        array = values if isinstance(values, np.ndarray) else np.asarray(values)
    except (ValueError, TypeError) as error:
        raise _error(recipe, f"must return an array as {what}", f"{error}") from None
    if array.dtype.kind not in _KINDS or not array.ndim or 0 in array.shape[1:]:
        rule = f"must return an array of numbers or text, one row per example, as {what}"
        raise _error(recipe, rule, f"{array.dtype} {list(array.shape)}")
    if array.dtype.kind != "f" or array.dtype.itemsize == 4:
        return array
    try:
        with np.errstate(over="raise"):
            return array.astype(np.float32)
    except FloatingPointError:
        largest = f"up to {np.nanmax(np.abs(array[np.isfinite(array)])):g}"
        raise _error(recipe, f"must return numbers below 3.4e38 as {what}", largest) from None


def _check_alike(recipe: Recipe, train: Split, split: Split, name: str) -> None:
    for part in ("features", "targets"):
        one, other = (_shapes(getattr(found, part)) for found in (train, split))
        if one != other:
            rule = f"must return {part} of one kind for train and {name}"
            raise _error(recipe, rule, f"{one} and {other}")


def _shapes(columns: Columns) -> str:
    if isinstance(columns, Mapping):
        return str({name: _shapes(array) for name, array in columns.items()})
    return f"{columns.dtype.kind}{list(columns.shape[1:])}"


def _error(recipe: Recipe, rule: str, received: str) -> DataError:
    shown = " ".join(received.split())[:200]
    return DataError(
        f"`get_data` of {recipe.path} {rule}. Received: {shown}; see `trainer.recipe` for examples."
    )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a {type(value).__name__} with {', '.join(map(repr, value)) or 'nothing'}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"a {type(value).__name__}"
