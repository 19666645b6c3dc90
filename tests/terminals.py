"""How do tests see what a person sees? A `Terminal` runs a command on a pseudo-terminal, with a screen.

The screen is pyte's, a terminal emulator. Every wait has a timeout.
"""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import pyte

PATIENCE_S = 120.0


class Terminal:
    """A window in which a command runs. A context manager: at its end the command is ended."""

    def __init__(
        self,
        command: Sequence[str],
        columns: int = 100,
        rows: int = 24,
        environ: Mapping[str, str] | None = None,
    ):
        has_size, give_size = os.pipe()
        self.pid, self._outer = pty.fork()
        if not self.pid:
            os.close(give_size)
            os.read(has_size, 1)  # It ends once the window has its size.
            own = {"TERM": "xterm-256color", "COLORTERM": "", **(environ or {})}
            kept = {name: text for name, text in os.environ.items() if name != "NO_COLOR"}
            os.execvpe(command[0], [*command], {**kept, **own})
        self._screen = pyte.HistoryScreen(columns, rows, history=5000)
        self._stream = pyte.ByteStream(self._screen)
        self.sent = b""
        self._changed = threading.Condition()
        self._is_read = threading.Event()
        self._reads = threading.Event()
        self._reads.set()
        self._code: int | None = None
        self.resize(columns, rows)
        for descriptor in (give_size, has_size):
            os.close(descriptor)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def rows(self) -> list[str]:
        """The rows of the window that are not empty, from the top."""
        with self._changed:
            return [row.rstrip() for row in self._screen.display if row.strip()]

    @property
    def history(self) -> list[str]:
        """All rows, also those that have left the window at its top."""
        with self._changed:
            gone = [
                "".join(row[column].data for column in range(self._screen.columns)).rstrip()
                for row in self._screen.history.top
            ]
        return [row for row in gone if row] + self.rows

    @property
    def is_cursor_visible(self) -> bool:
        return not self._screen.cursor.hidden

    @property
    def cursor(self) -> tuple[int, int]:
        """Its row and column."""
        return self._screen.cursor.y, self._screen.cursor.x

    def colour_of(self, text: str) -> str:
        """The colour in which the first of these characters is shown."""
        with self._changed:
            for number, row in enumerate(self._screen.display):
                if text in row:
                    return self._screen.buffer[number][row.index(text)].fg
        raise AssertionError(f"{text!r} is not shown")

    def await_row(self, pattern: str, timeout_s: float = PATIENCE_S) -> list[str]:
        """The rows, once the pattern is found in one of them."""
        return self.await_rows(
            lambda rows: any(re.search(pattern, row) for row in rows), repr(pattern), timeout_s
        )

    def await_rows(
        self, is_right: Callable[[list[str]], bool], what: str, timeout_s: float = PATIENCE_S
    ) -> list[str]:
        """The rows, once they are as wanted. `what`: that in words."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            is_last = self._is_read.is_set()  # Asked first, as the last rows may be the right ones.
            rows = self.rows
            if is_right(rows):
                return rows
            assert not is_last, f"{what} was not shown:\n" + "\n".join(rows)
            with self._changed:
                self._changed.wait(0.1)
        raise AssertionError(f"{what} was not shown:\n" + "\n".join(self.rows))

    def type(self, text: str) -> None:
        os.write(self._outer, text.encode())

    def resize(self, columns: int, rows: int) -> None:
        """Gives the window another size."""
        with self._changed:
            self._screen.resize(rows, columns)
        fcntl.ioctl(self._outer, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def stop_reading(self) -> None:
        """From now on the terminal takes nothing, as after Ctrl-S."""
        self._reads.clear()

    def resume_reading(self) -> None:
        self._reads.set()

    def close(self) -> None:
        """Closes the window."""
        self._is_read.set()
        self._reads.set()
        self._reader.join(PATIENCE_S)
        os.close(self._outer)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """The exit code, once the whole output has been read; negative for a signal."""
        if self._code is None:
            descriptor = os.pidfd_open(self.pid)
            ended, _, _ = select.select([descriptor], [], [], timeout_s)
            os.close(descriptor)
            assert ended, "it still runs:\n" + "\n".join(self.rows)
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self._reader.join(timeout_s)
        return self._code

    def __enter__(self):
        return self

    def __exit__(self, *unused: object) -> None:
        self._reads.set()
        for number in (signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
            if self._code is None:
                with contextlib.suppress(AssertionError):
                    self.send(number)
                    self.wait(0 if number == signal.SIGCONT else 10)
        if not self._is_read.is_set():
            self.close()

    def _read(self) -> None:
        while not self._is_read.is_set():
            self._reads.wait()
            ready, _, _ = select.select([self._outer], [], [], 0.1)
            if ready:
                try:
                    data = os.read(self._outer, 1 << 16)
                except OSError:  # All who had it open have ended.
                    break
                with self._changed:
                    self.sent += data
                    self._stream.feed(data)
                    self._changed.notify_all()
        self._is_read.set()
