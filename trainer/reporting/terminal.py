"""How do some lines of a terminal change while what is said above them stays?

The cursor waits in the row under the block, at its left. So a process that is killed leaves a terminal
in order, and Ctrl-C's echo is wiped with the next drawing.
"""

import contextlib
import os
import shutil
from collections.abc import Sequence
from typing import TextIO

_TO_LINE_END, _TO_SCREEN_END = "\x1b[K", "\x1b[J"
_GREEN, _DEFAULT = "\x1b[32m", "\x1b[0m"


class Block:
    """The lines at the bottom. They are plain text, one row each: nothing in them moves the cursor."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._lines: list[str] = []
        self._marked = ""

    def draw(self, lines: Sequence[str], marked: str = "") -> None:
        """These lines instead of the last; `marked` is coloured where it stands whole in the first."""
        lines = _fitted(lines)
        if lines == self._lines:
            return  # So that a person can select text while nothing changes.
        begin, self._lines, self._marked = self._to_top(), lines, marked
        put(self._stream, begin + self._text() + _TO_SCREEN_END)

    def say(self, lines: Sequence[str]) -> None:
        """Lines that stay, above the block."""
        said = "".join(f"{line}\n" for line in lines)
        put(self._stream, self._to_top() + _TO_SCREEN_END + said + self._text())

    def clear(self) -> None:
        if self._lines:
            begin, self._lines = self._to_top(), []
            put(self._stream, begin + _TO_SCREEN_END)

    def _text(self) -> str:
        text = "".join(f"{line}{_TO_LINE_END}\n" for line in self._lines)
        if self._marked and self._lines and self._marked in self._lines[0]:
            return text.replace(self._marked, f"{_GREEN}{self._marked}{_DEFAULT}", 1)
        return text

    def _to_top(self) -> str:
        """To the block's first row. A window that became narrower has broken its lines into more."""
        width, height = shutil.get_terminal_size()
        rows = sum(max(-(-len(line) // width), 1) for line in self._lines)
        return f"\x1b[{min(rows, height - 1)}F" if rows else ""


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a block can be drawn there."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except (ValueError, AttributeError):
        return False  # Closed, or none at all.


def put(stream: TextIO | None, text: str) -> None:
    """Writes at once, and in one piece, to whoever still reads."""
    # ValueError: the stream is closed; AttributeError: this process never had one. What runs goes
    # on all the same, as its results are in files.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        stream.write(text)
        stream.flush()


def _fitted(lines: Sequence[str]) -> list[str]:
    """What the terminal has room for: a row is left for the cursor, and the last column is, as some
    terminals go to the next row there and some do not."""
    width, height = shutil.get_terminal_size()
    room = max(height - 1, 1)
    if len(lines) > room:
        lines = [*lines[: room - 1], f"... and {len(lines) - room + 1} more"]
    return [line[: width - 1] for line in lines]
