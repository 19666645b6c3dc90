"""How does a block of a live view look? Lines of rich, made for the width and the colours of a terminal.

`render` turns what rich draws into lines of text for `Terminal`; `bar` and `flow` are what the views of
training and of a sweep have in common.
"""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.color import ColorSystem
from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.style import Style
from rich.table import Table
from rich.text import Text

from trainer.reporting.format import format_metric, printable

GOOD, BAD, NOTE, DIM = "green", "bold red", "yellow", "dim"
_SMALLEST_BAR, _LARGEST_BAR = 8, 40


class _Sink(io.StringIO):
    """What rich draws to; it chooses its characters by the encoding."""

    def __init__(self, encoding: str):
        super().__init__()
        self._name = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._name


def console(width: int, encoding: str = "utf-8") -> Console:
    """A console of rich for one block. It has colours unless NO_COLOR is set."""
    return Console(
        file=_Sink(encoding), width=width, height=1000, force_terminal=True, highlight=False,
        legacy_windows=False, markup=False, emoji=False,
    )  # fmt: skip


def render(rows: Iterable[RenderableType], width: int, height: int, encoding: str) -> list[str]:
    """The rows as lines that fit a window. One row stays free for the cursor, and the last column too,
    as some terminals move to the next row after writing there and some do not."""
    target = console(max(width - 1, 1), encoding)
    for row in rows:
        target.print(row, no_wrap=True, overflow="ellipsis", crop=True)
    assert isinstance(target.file, io.StringIO)
    lines = target.file.getvalue().splitlines()
    room = max(height - 1, 1)
    if len(lines) > room:
        lines = [*lines[: room - 1], f"... and {len(lines) - room + 1} more"[: width - 1]]
    return lines


def paint(text: str, style: str) -> str:
    """The text in a style of rich, unless NO_COLOR is set."""
    if not style or os.environ.get("NO_COLOR"):
        return text
    return Style.parse(style).render(text, color_system=ColorSystem.STANDARD)


def bar(share: float, width: int) -> RenderableType:
    """A progress bar for a window of this width."""
    completed = min(max(share, 0.0), 1.0)
    return ProgressBar(total=1.0, completed=completed, width=bar_columns(width))


def bar_columns(width: int) -> int:
    return min(max(width // 4, _SMALLEST_BAR), _LARGEST_BAR)


def flow(parts: Sequence[Text], width: int, indent: int = 0) -> list[Text]:
    """The parts in lines of at most `width` columns, two spaces between them."""
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + 2 + part.cell_len < width:
            lines[-1].append("  ").append_text(part)
        else:
            lines.append(Text(" " * indent if lines else "").append_text(part))
    return lines


def beside(first: RenderableType, lines: Sequence[Text]) -> RenderableType:
    """`first` in front of the lines."""
    grid = Table.grid(padding=(0, 1))
    grid.add_row(first, Text("\n").join(lines))
    return grid


def metric_parts(metrics: Mapping[str, Any]) -> list[Text]:
    """`loss 0.1234` for each number."""
    return [
        Text(f"{printable(name).replace('_', ' ')} {format_metric(value)}")
        for name, value in metrics.items()
        if isinstance(value, int | float)
    ]
