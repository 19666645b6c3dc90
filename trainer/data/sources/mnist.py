"""What is MNIST here? `tfds:mnist` of one version, under a name of its own.

So it is found, prepared and mapped as every data set of tensorflow-datasets is (`tfds.py`).
"""

import dataclasses

from trainer.config.schema import DataConfig
from trainer.data import source_data
from trainer.data.dataset import Dataset

NUM_TRAIN = 60_000
NUM_FEATURES = 28 * 28


def load(config: DataConfig) -> Dataset:
    """uint8 images [60000, 28, 28] and [10000, 28, 28] in 10 classes, in tensorflow-datasets' order.

    Raises DataError where MNIST is not on this machine and cannot be downloaded, or is damaged.
    """
    found = source_data.load(_source(config))
    # Without an identity the fingerprint is over the examples, as in the checkpoints of earlier versions.
    return dataclasses.replace(found, name="mnist", identity="")


def describe(config: DataConfig) -> str:
    return source_data.describe(_source(config))


def _source(config: DataConfig) -> DataConfig:
    return dataclasses.replace(
        config,
        source="tfds:mnist:3.0.1",
        features="image",
        target="label",
        features_as="auto",
        pad_to=0,
    )
