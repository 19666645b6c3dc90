"""How do the last lines of a terminal change while the lines printed above them stay?

`Block` redraws its lines in place. Between drawings the cursor is in the first column of the row below
the block. So a killed process leaves the terminal usable, and the next drawing removes Ctrl-C's echo.
"""

import contextlib
import os
import shutil
from collections.abc import Sequence
from typing import TextIO

_TO_LINE_END, _TO_SCREEN_END = "\x1b[K", "\x1b[J"
_GREEN, _DEFAULT = "\x1b[32m", "\x1b[0m"


class Block:
    """Lines at the bottom of a terminal. They are printable ASCII, and each takes one row."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._lines: list[str] = []
        self._highlight = ""

    def draw(self, lines: Sequence[str], highlight: str = "") -> None:
        """Replaces the block's lines. `highlight` is shown in green if the first line contains it."""
        lines = _fit(lines)
        if lines == self._lines:
            return  # So that a person can select text while nothing changes.
        begin, self._lines, self._highlight = self._to_top(), lines, highlight
        write(self._stream, begin + self._text() + _TO_SCREEN_END)

    def print_above(self, lines: Sequence[str]) -> None:
        """Prints lines above the block, which stay there."""
        text = "".join(f"{line}\n" for line in lines)
        write(self._stream, self._to_top() + _TO_SCREEN_END + text + self._text())

    def clear(self) -> None:
        """Removes the block from the terminal."""
        if self._lines:
            begin, self._lines = self._to_top(), []
            write(self._stream, begin + _TO_SCREEN_END)

    def _text(self) -> str:
        text = "".join(f"{line}{_TO_LINE_END}\n" for line in self._lines)
        if self._highlight and self._lines and self._highlight in self._lines[0]:
            return text.replace(self._highlight, f"{_GREEN}{self._highlight}{_DEFAULT}", 1)
        return text

    def _to_top(self) -> str:
        """Moves the cursor to the block's first row. A narrower window has wrapped its lines."""
        width, height = shutil.get_terminal_size()
        rows = sum(max(-(-len(line) // width), 1) for line in self._lines)
        return f"\x1b[{min(rows, height - 1)}F" if rows else ""


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a block can be drawn on the stream."""
    if stream is None:
        return False
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:
        return False  # The stream is closed.


def write(stream: TextIO | None, text: str) -> None:
    """Writes and flushes the text in one call. Does nothing if the stream's reader is gone."""
    if stream is None:
        return  # This process never had one.
    # ValueError: the stream is closed. The caller continues in any case, as its results are in files.
    with contextlib.suppress(OSError, ValueError):
        stream.write(text)
        stream.flush()


def _fit(lines: Sequence[str]) -> list[str]:
    """Cuts the lines to the window. One row stays free for the cursor, and the last column too, as
    some terminals move to the next row after writing there and some do not."""
    width, height = shutil.get_terminal_size()
    room = max(height - 1, 1)
    if len(lines) > room:
        lines = [*lines[: room - 1], f"... and {len(lines) - room + 1} more"]
    return [line[: width - 1] for line in lines]
