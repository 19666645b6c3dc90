"""By which feature are examples divided?

`parse` reads `data.partition_by`: a column, a statistic of its arrays, and ranges or quantiles. It needs
no NumPy, as the command line is checked without it.
"""

import dataclasses
import math

from trainer.order.errors import PartitionError

LABEL = "label"
QUANTILES = "quantiles"
STATISTICS = ("mean", "std", "sum", "min", "max")  # Of a column of arrays: pixels.mean.
MAX_VALUES = 1000  # And bounds. Each is a share.


@dataclasses.dataclass(frozen=True)
class Feature:
    """A column and how its values are divided: by quantiles, by `bounds`, or else one share each."""

    column: str = LABEL
    statistic: str = ""
    quantiles: bool = False
    bounds: tuple[float, ...] = ()


def parse(text: str) -> Feature:
    """What `data.partition_by` means. Raises PartitionError."""
    name, colon, division = (text or LABEL).partition(":")
    column, dot, statistic = name.rpartition(".")
    if not dot or statistic not in STATISTICS:
        column, statistic = name, ""
    if not column or (colon and not division):
        raise _error(text)
    if division in ("", QUANTILES):
        return Feature(column, statistic, quantiles=bool(division))
    try:
        bounds = tuple(float(bound) for bound in division.split(","))
    except ValueError:
        raise _error(text) from None
    is_ascending = all(low < high for low, high in zip(bounds, bounds[1:], strict=False))
    if not is_ascending or not all(map(math.isfinite, bounds)) or len(bounds) > MAX_VALUES:
        raise _error(text)
    return Feature(column, statistic, bounds=bounds)


def _error(text: str) -> PartitionError:
    return PartitionError(
        "`data.partition_by` must be label, COLUMN, COLUMN:LOW,HIGH,... with ascending numbers, or "
        f"COLUMN:{QUANTILES}. Received: {text[:80]!r}; try label, age:20,40,60 or pixels.mean:quantiles."
    )
