"""Is a partition that cannot be meant refused before any data is read?"""

import pytest

from trainer.config import load
from trainer.config.fields import ConfigError


def _data(**fields):
    given = {f"data.{name}": value for name, value in fields.items()}
    return load.resolve("digits_dense", given).data


@pytest.mark.parametrize(
    "fields",
    [
        {"partition": "by_feature"},
        {"partition": "by_feature", "partition_by": "age:20,40", "partitions": "3"},
        {"partition": "by_feature", "partition_by": "a.b.mean:quantiles", "partitions": "9"},
        {"partition": "dirichlet", "partition_alpha": "0.1", "partitions": "100"},
        {"partition": "dbscan", "partition_components": "5", "partitions": "1"},
    ],
)
def test_what_can_be_meant_is_taken(fields):
    assert _data(**fields).partition == fields["partition"]


def test_the_documents_name_is_taken_too():
    found = _data(distribution="algorithm", partitions="3")
    assert (found.partition, found.partitions) == ("kmeans", 3)
    assert _data(distribution="sequential", partitions="3").partition == "sequential"
    with pytest.raises(ConfigError, match="`data.partition` must be one of none, sequential"):
        _data(distribution="evenly")


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"partition": "kmean"}, "did you mean kmeans"),
        ({"partition": "kmeans"}, "`data.partitions` must be at least 1 with kmeans. Received: 0"),
        ({"partitions": "3"}, "`data.partitions` must be 0 without `data.partition`. Received: 3"),
        (
            {"partition_alpha": "1"},
            "`data.partition_alpha` must be left out .* none. Received: 1.0",
        ),
        (
            {"partition": "random", "partitions": "2", "partition_by": "label"},
            "`data.partition_by` must be left out for `data.partition` random",
        ),
        (
            {"partition": "random", "partitions": "2", "partition_components": "2"},
            "set --config.data.partition to kmeans or dbscan",
        ),
        (
            {"partition": "by_feature", "partition_by": "age:20,40", "partitions": "5"},
            "`data.partitions` must be 3, or left out, .* Received: 5",
        ),
        ({"partition": "by_feature", "partition_by": "age:quantiles"}, "at least 1 with age:quant"),
        ({"partition": "by_feature", "partition_by": "age:40,20"}, "Received: 'age:40,20'; try"),
        ({"partition": "by_feature", "partition_by": "age:x"}, "ascending numbers"),
        ({"partition": "by_feature", "partition_by": "age:nan"}, "ascending numbers"),
        ({"partition": "by_feature", "partition_by": ":3"}, "Received: ':3'"),
        ({"partition": "by_feature", "partition_by": "age:"}, "Received: 'age:'"),
    ],
)
def test_what_cannot_be_meant_is_one_line(fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        _data(**fields)
    assert "\n" not in str(caught.value)
