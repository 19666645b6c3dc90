"""Where do the examples of a config come from?

From the files of `data.source`, or from one of the data sets of `data.name`: `LOADERS` names its module,
which has `load(config)`, `describe(config)`, `NUM_TRAIN`, the number of its training examples, and
`NUM_FEATURES`, the numbers that a model takes for each.
"""

import dataclasses
import difflib
import importlib

from trainer.data import source_data
from trainer.data.dataset import DataConfig, DataError, Dataset

LOADERS = {
    "digits": "trainer.data.sources.digits",
    "mnist": "trainer.data.sources.mnist",
    "dense_100": "trainer.data.sources.synthetic",
    "linear_100": "trainer.data.sources.synthetic",
    "relu_regression": "trainer.data.sources.synthetic",
}


def load(config: DataConfig) -> Dataset:
    """The data that `config` names, cut to its first `train_examples` training examples.

    Raises DataError where it is missing or damaged, or has fewer training examples.
    """
    dataset = source_data.load(config) if config.source else _loader(config).load(config)
    if not config.source:
        _check_classes(dataset)
    if not config.train_examples:
        return dataset
    _check_train_examples(config, dataset.name, len(dataset.train))
    return dataclasses.replace(dataset, train=dataset.train.first(config.train_examples))


def describe(config: DataConfig) -> str:
    """One sentence on what `load` would use, without loading it.

    Raises DataError where `load` would, before reading any data.
    """
    return source_data.describe(config) if config.source else _loader(config).describe(config)


def num_features(config: DataConfig) -> int:
    """The numbers that a model takes for each example. Raises DataError for an unknown name."""
    return _module(config.name).NUM_FEATURES


def _check_classes(dataset: Dataset) -> None:
    """Raises DataError where a label is none of the classes: its loss would be NaN."""
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        labels = split.targets
        if dataset.num_classes and not 0 <= labels.min() <= labels.max() < dataset.num_classes:
            raise DataError(
                f"`data.name` must name data with classes from 0 to {dataset.num_classes - 1}. Received: "
                f"{labels.min()} to {labels.max()} in the {name} labels of {dataset.name}, from "
                f"{dataset.description}; delete the copy that was changed, so that it is made again."
            )


def _loader(config: DataConfig):
    """The module that loads it. Raises DataError where it has too few training examples."""
    loader = _module(config.name)
    _check_train_examples(config, config.name, loader.NUM_TRAIN)
    return loader


def _check_train_examples(config: DataConfig, name: str, available: int) -> None:
    if not 0 <= config.train_examples <= available:
        raise DataError(
            f"`data.train_examples` must be 0 (all) to {available} for {name}. Received: "
            f"{config.train_examples}."
        )


def _module(name: str):
    if name not in LOADERS:
        nearest = difflib.get_close_matches(name, LOADERS, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else "."
        raise DataError(f"`data.name` must be one of {', '.join(LOADERS)}. Received: {name}{hint}")
    return importlib.import_module(LOADERS[name])
