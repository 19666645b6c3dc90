"""Which divisions of the data into shares can a config ask for?

`check` compares the fields `data.partition…` with each other. What the data must have for it is found
once they are read, by `trainer.order.partition`.
"""

from trainer.config import fields as fields_lib
from trainer.config.data_schema import DataConfig
from trainer.config.fields import ConfigError
from trainer.config.schema import ExperimentConfig
from trainer.order import feature as feature_lib
from trainer.order.errors import PartitionError

# The methods that read a field.
_READ_BY = {
    "partition_by": ("by_feature",),
    "partition_alpha": ("dirichlet",),
    "partition_components": ("kmeans", "dbscan"),
}


def check(config: ExperimentConfig) -> None:
    """Raises ConfigError where a field is missing for the method, or is not read by it."""
    data, defaults = config.data, DataConfig()
    for name, methods in _READ_BY.items():
        value = getattr(data, name)
        if value != getattr(defaults, name) and data.partition not in methods:
            raise ConfigError(
                f"`data.{name}` must be left out for `data.partition` {data.partition}. Received: "
                f"{fields_lib.short_json(value)}; set --config.data.partition to {' or '.join(methods)}."
            )
    if data.partition == "none" and data.partitions:
        raise ConfigError(
            f"`data.partitions` must be 0 without `data.partition`. Received: {data.partitions}; say how "
            "to divide the examples, e.g. with --config.data.partition=random."
        )
    if data.partition == "by_feature":
        _check_feature(data)
    elif data.partition != "none" and not data.partitions:
        raise _no_number(data.partition)


def _check_feature(data: DataConfig) -> None:
    try:
        feature = feature_lib.parse(data.partition_by)
    except PartitionError as error:
        raise ConfigError(str(error)) from None
    if feature.quantiles and not data.partitions:
        raise _no_number(data.partition_by)
    ranges = len(feature.bounds) + 1
    if feature.bounds and data.partitions not in (0, ranges):
        raise ConfigError(
            f"`data.partitions` must be {ranges}, or left out, for `data.partition_by` "
            f"{data.partition_by}. Received: {data.partitions}; leave it out."
        )


def _no_number(method: str) -> ConfigError:
    return ConfigError(
        f"`data.partitions` must be at least 1 with {method}. Received: 0; try "
        "--config.data.partitions=10."
    )
