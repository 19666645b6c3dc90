"""Which data does a config name, where its recipe may bring its own?

`load` returns what the recipe's `get_data(config)` makes of it, or else the data set of `data.name`. A
recipe returns {"train": source, "test": source}, and perhaps "validation": source. A source is a pair
(features, targets) of arrays, or of arrays by name, and perhaps an array of weights; or examples one by
one, see `examples.py`.
"""

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config import recipes
from trainer.config.fields import short_json
from trainer.config.recipes import Recipe
from trainer.config.schema import ExperimentConfig
from trainer.data import (
    augment,
    class_balance,
    folds,
    recipe_examples,
    registry,
    source_data,
    validation,
)
from trainer.data.dataset import Columns, DataError, Dataset, Split, fingerprint
from trainer.data.recipe_arrays import as_array, as_columns, kind_of, refused

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


def depends_on_examples(config: ExperimentConfig) -> bool:
    """Whether the config weighs, divides or augments the examples, which not all data allow."""
    data = config.data
    is_weighted = data.class_weights or data.resample != "none"
    return bool(is_weighted or data.folds or data.augment)


def load(config: ExperimentConfig) -> Dataset:
    """The data of a config, cut to its first `data.train_examples` training examples.

    Raises:
      DataError: it is missing, damaged or not what it has to be.
      RecipeError: the recipe's own code failed.
    """
    recipe = recipe_of(config)
    data, seed = config.data, config.train.seed
    dataset = folds.test_on_fold(
        _load(recipe, config), data.folds, data.fold, data.split_seed, data.stratified
    )
    dataset = validation.set_aside(dataset, data.validation_fraction, seed)
    dataset = class_balance.weighted(dataset, data.class_weights)
    if data.resample != "none":
        class_balance.labels(dataset, "data.resample")
    if augmentation := augment.of(recipe, dataset.train, seed, data.augment):
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
        raise refused(recipe, "must return {'train': source, 'test': source}", kind_of(found))
    read = {name: _split(recipe, config, name, found[name]) for name in found}
    splits = {name: split for name, (split, _) in read.items()}
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
    if config.data.example_weights and train.weights is None:
        raise DataError(
            f"`data.example_weights` must be empty for the arrays of {recipe.path}. Received: "
            f"{short_json(config.data.example_weights)}; return (features, targets, weights) instead."
        )
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
        identity=_identity(read),
    )


def _identity(read: Mapping[str, tuple[Split, str]]) -> str:
    """A digest of all examples, where some are in files; "" where they are all in memory."""
    if not any(sha256 for _, sha256 in read.values()):
        return ""
    digests = [(name, sha256 or fingerprint([split])) for name, (split, sha256) in read.items()]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def source_fingerprint(recipe: Recipe) -> str:
    """One sha256 over all files of a recipe that it has imported so far."""
    return hashlib.sha256(repr(sorted(recipe.sources().items())).encode()).hexdigest()


def _split(recipe: Recipe, config: ExperimentConfig, name: str, source: Any) -> tuple[Split, str]:
    """The arrays of one source, and their sha256 where it is known. Raises DataError."""
    what = (
        f"must return a source for {name!r} that is a pair (features, targets), or examples by [i]"
    )
    sha256 = ""
    if not isinstance(source, tuple):
        source, sha256 = recipe_examples.spooled(recipe, config, name, what, source)
    if len(source) not in (2, 3):
        raise refused(recipe, what, kind_of(source))
    features, targets = (
        as_columns(recipe, f"{name} {part}", columns)
        for part, columns in zip(("features", "targets"), source[:2], strict=True)
    )
    split = Split(features, targets, *(_weights(recipe, name, one) for one in source[2:]))
    lengths = {len(array) for array in split.all_arrays}
    if len(lengths) > 1 or lengths == {0}:
        rule = f"must return at least one example for {name!r}, and arrays of one length"
        found = ", ".join(str(len(array)) for array in split.all_arrays)
        raise refused(recipe, rule, f"lengths {found}")
    return split, sha256


def _weights(recipe: Recipe, name: str, values: Any) -> np.ndarray:
    array = as_array(recipe, f"{name} weights", values)
    is_number = array.ndim == 1 and array.dtype.kind in "fiub" and array.size
    if not is_number or not (np.isfinite(array).all() and array.min() >= 0 and array.max() > 0):
        rule = (
            f"must return a number from 0 on for each example, not all of them 0, as {name} weights"
        )
        raise refused(
            recipe, rule, f"{array.dtype} {list(array.shape)}, or numbers that do not fit"
        )
    return array


def _check_alike(recipe: Recipe, train: Split, split: Split, name: str) -> None:
    for part in ("features", "targets"):
        one, other = (_shapes(getattr(found, part)) for found in (train, split))
        if one != other:
            rule = f"must return {part} of one kind for train and {name}"
            raise refused(recipe, rule, f"{one} and {other}")


def _shapes(columns: Columns) -> str:
    if isinstance(columns, Mapping):
        return str({name: _shapes(array) for name, array in columns.items()})
    return f"{columns.dtype.kind}{list(columns.shape[1:])}"
