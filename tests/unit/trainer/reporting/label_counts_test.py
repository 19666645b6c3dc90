"""Are the examples of each share counted by their labels, under the names of the classes?"""

import dataclasses

import numpy as np

from trainer.config.schema import DataConfig
from trainer.data import registry
from trainer.order.partition import Partition
from trainer.reporting import label_counts


def test_splits_and_shares_have_the_counts_of_their_labels():
    dataset = registry.load(DataConfig(name="digits"))
    labels = np.asarray(dataset.train.targets)
    partition = Partition.from_assignment((labels > 3).astype(int), 2, "by hand")
    named = dataclasses.replace(
        dataset, partition=partition, class_names=tuple(f"digit {label}" for label in range(10))
    )
    train, test = label_counts.of_dataset(named)
    assert (train.name, train.examples, test.examples) == ("train", 1497, 300)
    assert train.labels == {f"digit {label}": (labels == label).sum() for label in range(10)}
    low, high = label_counts.of_partition(named)
    assert [*low.labels] == [f"digit {label}" for label in range(4)]
    assert low.examples == sum(low.labels.values()) == (labels <= 3).sum()
    assert high.examples == (labels > 3).sum()


def test_a_regression_has_sizes_and_no_labels_and_undivided_data_no_shares():
    dataset = registry.load(DataConfig(name="linear_100"))
    assert [share.labels for share in label_counts.of_dataset(dataset)] == [{}, {}]
    assert label_counts.of_partition(dataset) == []
