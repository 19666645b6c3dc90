"""How are the shares of the data shown to people? As a table, and in one line.

A row for each share has its size, its divergence from the whole data and its most frequent classes.
"""

from collections.abc import Sequence

import numpy as np

from trainer.order.label_mix import LabelMix
from trainer.order.partition import Partition
from trainer.reporting.format import one_line

MAX_ROWS = 20
_CLASSES_SHOWN = 4
_LEAST_SHOWN = 0.005  # Of a share; less is 0 %.
_NAME_WIDTH = 16


def one_sentence(partition: Partition, mix: LabelMix | None) -> str:
    """Sizes, and how far the shares' classes are from those of the whole data."""
    if not mix:
        return str(partition)
    return (
        f"{partition}; divergence of the labels {mix.mean_divergence:.2f} bits in the mean, at most "
        f"{mix.divergence.max():.2f}"
    )


def table(partition: Partition, mix: LabelMix | None, limit: int = MAX_ROWS) -> list[str]:
    """The lines of the table; of many shares the first ones."""
    sizes = np.array(partition.sizes)
    head, rows = ["share", "examples", "part"], []
    for number, size in enumerate(sizes[:limit].tolist()):
        rows.append([str(number), f"{size:,}", f"{size / sizes.sum():.1%}"])
    if mix:
        head += ["divergence", "most frequent labels"]
        for row, divergence, counts in zip(rows, mix.divergence, mix.counts, strict=False):
            row += [f"{divergence:.3f}", _most_frequent(mix.names, counts)]
    lines = _aligned([head, *rows])
    if len(sizes) > limit:
        lines.append(f"and {len(sizes) - limit} more")
    return lines


def _most_frequent(names: Sequence[str], counts: np.ndarray) -> str:
    most = np.argsort(-counts, kind="stable")[:_CLASSES_SHOWN]
    return ", ".join(
        f"{one_line(names[label], _NAME_WIDTH)} {counts[label] / counts.sum():.0%}"
        for label in most.tolist()
        if counts[label] >= _LEAST_SHOWN * counts.sum()
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Numbers to the right, and the labels, the fifth column, to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 4 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
