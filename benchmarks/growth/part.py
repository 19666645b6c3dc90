"""What is measured while one thing grows?

A `Part` names its sizes and its columns, and makes its rows.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence


@dataclasses.dataclass(frozen=True)
class Part:
    """A table. `rows` makes the cells of each size; the first cell of a row is its size."""

    title: str
    columns: Sequence[str]
    sizes: Sequence[float]
    rows: Callable[[Iterable[float]], Iterator[list[str]]]

    def failed(self, size: str, reason: str) -> list[str]:
        """The row of a size that has no figures."""
        return [size, reason, *[""] * (len(self.columns) - 2)]
