"""Do the shares of every way to divide the data cover it, and are they the ones that were asked for?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.config.schema import DataConfig, ExperimentConfig, TrainConfig
from trainer.data import registry
from trainer.data.dataset import Dataset, Split
from trainer.order import partition
from trainer.order.errors import PartitionError
from trainer.order.partition import Partition

BY_LABEL = ("dirichlet", "shards")


def data_of(features, targets=None, num_classes=0, **more):
    """A data set to train on these examples."""
    targets = np.zeros(len(features), np.float32) if targets is None else np.asarray(targets)
    split = Split(features, targets)
    return Dataset("made", split, split, num_classes, num_classes or 1, "made", **more)


def config_of(method, partitions=0, seed=0, **more):
    more = {f"partition_{name}": value for name, value in more.items()}
    data = DataConfig(partition=method, partitions=partitions, **more)
    return ExperimentConfig(data=data, train=TrainConfig(seed=seed))


def divide(data, method, partitions=0, **more):
    """The shares, which cover the data whatever the method."""
    found = partition.of(config_of(method, partitions, **more), data)
    assert np.array_equal(np.sort(np.concatenate(found.shares)), np.arange(len(data.train)))
    assert all(share.dtype == np.int32 and (np.diff(share) > 0).all() for share in found.shares)
    assert all(map(len, found.shares)) and len(found.shares) == (partitions or len(found.shares))
    return found


@pytest.fixture(scope="module")
def digits():
    return registry.load(DataConfig())


@settings(max_examples=60)
@given(
    st.sampled_from(["sequential", "random", "kmeans", "dbscan", "dirichlet"]),
    st.lists(st.integers(0, 5), min_size=1, max_size=80),
    st.data(),
)
def test_any_method_makes_disjoint_shares_that_cover_the_data_and_are_the_same_again(
    method, labels, data
):
    parts = data.draw(st.integers(1, len(labels)))
    seed = data.draw(st.integers(0, 2**31 - 1))
    few = st.floats(-2, 2, width=32) | st.just(0)
    width = data.draw(st.integers(1, 3))
    rows = st.lists(few, min_size=width, max_size=width)
    size = len(labels)
    features = np.array(data.draw(st.lists(rows, min_size=size, max_size=size)), np.float32)
    made = data_of(features, np.array(labels, np.int32), 6)
    found = divide(made, method, parts, seed=seed)
    assert found.sha256 == divide(made, method, parts, seed=seed).sha256
    if method in ("sequential", "random"):
        assert max(found.sizes) - min(found.sizes) <= 1
    if method == "dbscan":
        assert max(found.sizes) <= 2 * -(-size // parts)


@settings(max_examples=60)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=200))
def test_an_assignment_and_its_shares_are_each_others_inverse(assignment):
    numbers, assignment = np.unique(assignment, return_inverse=True)
    found = Partition.from_assignment(assignment, len(numbers))
    assert np.array_equal(found.assignment, assignment)
    assert found.sizes == np.bincount(assignment).tolist()


def test_sequential_shares_keep_the_order_and_random_ones_follow_the_seed():
    data = data_of(np.zeros((1000, 1)))
    assert divide(data, "sequential", 4).shares[1].tolist() == [*range(250, 500)]
    one, same, other = (divide(data, "random", 4, seed=seed).sha256 for seed in (1, 1, 2))
    assert one == same != other


def test_a_config_without_a_partition_has_one_share_with_all():
    assert divide(data_of(np.zeros((7, 1))), "none").shares[0].tolist() == [*range(7)]


@settings(max_examples=40)
@given(st.integers(2, 6), st.integers(0, 2**31 - 1))
def test_each_share_of_shards_has_examples_of_few_classes(parts, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(10), 24)).astype(np.int32)
    found = divide(data_of(np.zeros((240, 1)), labels, 10), "shards", parts, seed=seed)
    assert max(found.sizes) - min(found.sizes) <= 2
    # A piece of n examples begins in the middle of a class at most once.
    most = 2 * (-(-240 // (2 * parts) // 24) + 1)
    assert all(len(np.unique(labels[share])) <= most for share in found.shares)


def test_a_small_alpha_makes_shares_whose_classes_differ_more():
    labels = np.repeat(np.arange(10), 200).astype(np.int32)

    def distance(alpha):
        found = divide(data_of(np.zeros((2000, 1)), labels, 10), "dirichlet", 10, alpha=alpha)
        mixes = [np.bincount(labels[share], minlength=10) / len(share) for share in found.shares]
        return np.mean([np.abs(mix - 0.1).sum() / 2 for mix in mixes])

    assert distance(0.05) > 0.6 > 0.3 > distance(10) > 0.02 > distance(10000)


TABLE = {"age": np.array([25, 70, 15, 41, 40], np.float32), "town": np.array(list("babca"))}


def test_a_feature_divides_by_its_values_its_ranges_and_its_quantiles(digits):
    data = data_of(TABLE, np.arange(5, dtype=np.int32) % 3, 3)
    found = divide(data, "by_feature", by="age:20,40")
    assert [share.tolist() for share in found.shares] == [[2], [0], [1, 3, 4]]
    assert [share.tolist() for share in divide(data, "by_feature", by="town").shares] == [
        [1, 4], [0, 2], [3]]  # fmt: skip
    assert [share.tolist() for share in divide(data, "by_feature").shares] == [[0, 3], [1, 4], [2]]
    assert divide(data, "by_feature", 2).sizes == [4, 1]  # Classes 0 and 1; class 2.
    found = divide(digits, "by_feature", 4, by="pixels.mean:quantiles")
    means = digits.train.features.mean(axis=(1, 2))
    assert max(found.sizes) - min(found.sizes) <= 1
    assert all(
        means[one].max() <= means[next_].min()
        for one, next_ in zip(found.shares, found.shares[1:], strict=False)
    )


def test_the_columns_of_a_matrix_have_the_names_of_the_source_or_numbers():
    matrix = np.array([[1, 30], [2, 20], [3, 10]], np.float32)
    named = data_of(matrix, feature_names=("height", "age"))
    shares = [[1, 2], [0]]
    for data, name in ((named, "age"), (data_of(matrix), "features.1")):
        found = divide(data, "by_feature", by=f"{name}:25")
        assert [share.tolist() for share in found.shares] == shares


@pytest.mark.parametrize("parts", [2, 10])
def test_shares_of_kmeans_are_those_of_scikit_learn(digits, parts):
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    pixels = digits.train.features.reshape(len(digits.train), -1).astype(np.float32)
    at = PCA(50, random_state=3).fit_transform(pixels)
    labels = KMeans(parts, random_state=3).fit(at).labels_
    found = divide(digits, "kmeans", parts, seed=3)
    assert {share.tobytes() for share in found.shares} == {
        np.flatnonzero(labels == label).astype(np.int32).tobytes() for label in range(parts)
    }


def test_the_other_examples_join_the_clusters_of_a_sample(digits, monkeypatch):
    from trainer.order import clusters

    whole = divide(digits, "kmeans", 10)
    monkeypatch.setattr(clusters, "KMEANS_SAMPLE", 800)
    monkeypatch.setattr(clusters, "DBSCAN_SAMPLE", 800)
    found = divide(digits, "kmeans", 10)
    assert "of 800 examples" in found.description
    # Mostly the same clusters: the examples of one are those of the nearest other.
    overlap = [max(np.isin(one, other).sum() for other in whole.shares) for one in found.shares]
    assert sum(overlap) > 0.6 * len(digits.train)
    assert max(divide(digits, "dbscan", 10).sizes) <= 2 * -(-len(digits.train) // 10)


@pytest.mark.parametrize("method", ["kmeans", "dbscan"])
def test_clusters_of_examples_that_are_all_equal_are_halved_until_there_are_enough(method):
    found = divide(data_of(np.ones((64, 3), np.float32)), method, 8)
    assert max(found.sizes) <= 16


def test_numbers_of_a_table_are_compared_in_units_of_their_own_spread():
    random = np.random.default_rng(0)
    apart = np.repeat([0, 1], 50)
    income = random.normal(50_000, 10_000, 100)
    data = data_of({"group": apart.astype(np.float32), "income": income.astype(np.float32)})
    found = divide(data, "kmeans", 2)
    assert {tuple(np.unique(apart[share])) for share in found.shares} == {(0,), (1,)}


THREE = np.zeros((3, 1))
IN_TABLE = data_of(TABLE, np.zeros(5, np.float32))


@pytest.mark.parametrize(
    "data, config, message",
    [
        (
            data_of(THREE),
            config_of("random", 4),
            "`data.partitions` must be at most .* 3. Received: 4",
        ),
        (data_of(THREE), config_of("dirichlet", 2), "one class for each example. Received: made"),
        (data_of(THREE, [0, 1, 1]), config_of("shards", 2), "at most 1 for shards.* Received: 2"),
        (
            data_of(THREE, [0, 2, 2], 3),
            config_of("by_feature"),
            "Received: none of class 1; .* to 2",
        ),
        (IN_TABLE, config_of("by_feature", by="agee:20"), "Received: 'agee'; did you mean age"),
        (IN_TABLE, config_of("by_feature", by="town:20"), "Received: town, which has text"),
        (IN_TABLE, config_of("by_feature", by="age:20,99"), "none from 99 in age, .* 15 to 70"),
        (
            IN_TABLE,
            config_of("by_feature", 4, by="town"),
            "at most 3, the number of values of town",
        ),
        (
            data_of(np.zeros((3, 2, 2))),
            config_of("by_feature", 3, by="features:quantiles"),
            r"features, which has arrays \[2, 2\]; .* features.mean:quantiles",
        ),
        (
            data_of(np.arange(2000.0)[:, None]),
            config_of("by_feature", by="features"),
            "features with 2,000",
        ),
        (
            data_of({"town": TABLE["town"]}, np.zeros(5)),
            config_of("kmeans", 2),
            "features without numbers. Received: <U1",
        ),
    ],
)
def test_what_cannot_be_divided_is_one_line(data, config, message):
    with pytest.raises(PartitionError, match=message) as caught:
        partition.of(config, data)
    assert "\n" not in str(caught.value)
