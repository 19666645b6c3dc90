"""How do the last lines of a terminal change while the lines printed above them stay?

`Terminal` redraws a block of lines in place. Between drawings the cursor is visible, in the first column
of the row below the block: so a killed or suspended process leaves the terminal usable, and the next
drawing removes the echo of Ctrl-C. Nothing waits for a terminal that is stopped (Ctrl-S) or closed: what
it does not take is kept for later, up to 1 MiB.
"""

import contextlib
import os
import re
from collections.abc import Sequence

from rich.cells import cell_len

from trainer.process import console

_TO_LINE_END, _TO_SCREEN_END = "\x1b[K", "\x1b[J"
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_SEQUENCE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?")
_MAX_WAITING_BYTES = 1 << 20
_PLAIN_SIZE = os.terminal_size((80, 24))


class Terminal:
    """A terminal, by its descriptor, with a block of lines at its bottom.

    Raises OSError where it cannot be opened once more, so that writing to it would wait.
    """

    def __init__(self, descriptor: int, encoding: str = "utf-8"):
        self._control, self.encoding = descriptor, encoding
        self._descriptor = console.unblocked(descriptor)
        if os.get_blocking(self._descriptor):
            os.close(self._descriptor)
            raise OSError("the terminal belongs to another user")
        self._block: list[str] = []
        self._waiting = b""  # What it has not taken yet.
        self._num_left_out = 0

    @property
    def size(self) -> os.terminal_size:
        """Columns and rows of its window now."""
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(self._control)
            if size.columns and size.lines:
                return size
        return _PLAIN_SIZE

    @property
    def is_in_foreground(self) -> bool:
        """Whether it is this process's turn to draw, and not the shell's or another job's."""
        return console.is_in_foreground(self._control)

    def draw(self, lines: Sequence[str]) -> None:
        """Replaces the block's lines. A terminal that takes nothing shows a later block instead."""
        self.pump()
        if self._waiting or lines == self._block:
            return  # Unchanged lines are not drawn, so that a person can select text.
        begin, self._block = self._to_top(), list(lines)
        self._send(begin + self._text() + _TO_SCREEN_END)

    def print_above(self, lines: Sequence[str]) -> None:
        """Prints lines above the block, which stay there: see `printable_line`."""
        text = "".join(f"{line}\n" for line in lines)
        if len(self._waiting) > _MAX_WAITING_BYTES:
            self._num_left_out += len(lines)
            return
        if self._num_left_out:
            text = f"... {self._num_left_out:,} lines are left out\n{text}"
            self._num_left_out = 0
        self._send(self._to_top() + _TO_SCREEN_END + text + self._text())

    def forget(self) -> None:
        """The block stays where it is, and the next one is drawn below."""
        self._block = []

    def clear(self) -> None:
        """Removes the block from the terminal."""
        if self._block:
            begin, self._block = self._to_top(), []
            self._send(begin + _TO_SCREEN_END)

    def pump(self) -> bool:
        """Writes what waits, as far as the terminal takes it. True if nothing waits any more."""
        if self._waiting:
            self._send("")
        return not self._waiting

    def fileno(self) -> int:
        return self._descriptor

    def _send(self, text: str) -> None:
        self._waiting += text.encode(self.encoding, "backslashreplace")
        try:
            while self._waiting:
                self._waiting = self._waiting[os.write(self._descriptor, self._waiting) :]
        except BlockingIOError:
            pass  # It is stopped, or slow.
        except OSError:
            self._waiting = b""  # It is closed. Results are in files.

    def _text(self) -> str:
        return "".join(f"{line}{_TO_LINE_END}\n" for line in self._block)

    def _to_top(self) -> str:
        """Moves the cursor to the block's first row. A narrower window has wrapped its lines."""
        width, height = self.size
        rows = sum(max(-(-cell_len(_STYLE.sub("", line)) // width), 1) for line in self._block)
        return f"\x1b[{min(rows, height - 1)}F" if rows else ""


def printable_line(line: str) -> str:
    """The line without what would move the cursor; colours stay. Of a line that overwrites itself, as a
    progress bar does, the last version."""
    line = line.rstrip("\r").rpartition("\r")[2]
    line = _SEQUENCE.sub(lambda found: found[0] if _STYLE.fullmatch(found[0]) else "", line)
    line = line.expandtabs()
    return "".join(c if c.isprintable() or c == "\x1b" else " " for c in line)
