"""Does a block of lines change in place, on any terminal, while the lines above it stay?"""

import fcntl
import os
import pty
import struct
import termios
import tty

import pyte
import pytest

from trainer.reporting.terminal import Terminal, printable_line


class Window:
    """A pseudo-terminal, and pyte's screen of what is written to it."""

    def __init__(self, columns, rows):
        self.outer, self.inner = pty.openpty()
        tty.setraw(self.inner)
        self._screen = pyte.HistoryScreen(columns, rows)
        self._screen.set_mode(pyte.modes.LNM)
        self._stream = pyte.ByteStream(self._screen)
        self.sent = b""
        self.resize(columns, rows)
        os.set_blocking(self.outer, False)

    def resize(self, columns, rows):
        self._screen.resize(rows, columns)
        fcntl.ioctl(self.inner, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def take(self):
        """Takes what was sent so far, and returns it."""
        taken = b""
        while True:
            try:
                taken += os.read(self.outer, 1 << 16)
            except BlockingIOError:
                self.sent += taken
                return taken

    def rows(self):
        self._stream.feed(self.take())
        return [row.rstrip() for row in self._screen.display if row.strip()]


@pytest.fixture
def window():
    window = Window(60, 10)
    yield window
    os.close(window.inner)


@pytest.fixture
def terminal(window):
    return Terminal(window.inner)


def test_a_block_that_shrinks_or_grows_leaves_no_old_rows(window, terminal):
    for count in (3, 1, 0, 2):
        terminal.draw([f"row {number}" for number in range(count)])
        assert window.rows() == [f"row {number}" for number in range(count)]


def test_a_shorter_line_replaces_a_longer_one_completely(window, terminal):
    terminal.draw(["a long line", "b"])
    terminal.draw(["short", "b"])
    assert window.rows() == ["short", "b"]


def test_printed_lines_stay_above_the_block(window, terminal):
    terminal.print_above(["first"])
    terminal.draw(["block 1", "block 2"])
    terminal.print_above(["second " + "x" * 80])
    assert [row[:8] for row in window.rows()] == [
        "first",
        "second x",
        "x" * 8,
        "block 1",
        "block 2",
    ]


def test_a_full_screen_scrolls_only_the_printed_lines(window, terminal):
    for number in range(30):
        terminal.draw([f"block {number}", "end"])
        terminal.print_above([f"line {number}"])
    assert window.rows() == [*(f"line {number}" for number in range(23, 30)), "block 29", "end"]


def test_clear_removes_the_block_and_forget_leaves_it(window, terminal):
    terminal.print_above(["before"])
    terminal.draw(["block 1"])
    terminal.clear()
    assert window.rows() == ["before"]
    terminal.draw(["block 2"])
    terminal.forget()
    terminal.draw(["block 3"])
    assert window.rows() == ["before", "block 2", "block 3"]


def test_an_unchanged_block_is_not_drawn_again(window, terminal):
    terminal.draw(["block"])
    window.rows()
    sent = len(window.sent)
    terminal.draw(["block"])
    window.rows()
    assert len(window.sent) == sent


def test_in_a_narrower_window_the_wrapped_rows_are_removed_too(window, terminal):
    terminal.draw(["x" * 55, "\x1b[32m" + "y" * 20 + "\x1b[0m"])
    window.rows()
    window.resize(30, 10)
    terminal.draw(["new"])
    window.rows()
    assert window.sent.count(b"\x1b[3F") == 1  # Two rows for the first line, one for the second.


def test_the_cursor_is_never_hidden(window, terminal):
    terminal.draw(["a"])
    terminal.print_above(["b"])
    terminal.clear()
    window.rows()
    assert b"?25l" not in window.sent


def test_a_terminal_that_takes_nothing_holds_nobody_up_and_shows_all_lines_later(window, terminal):
    for number in range(1000):
        terminal.draw([f"block {number}"])
        terminal.print_above([f"line {number} {'x' * 200}"])
    assert not terminal.pump()
    while not terminal.pump():
        window.take()
    window.take()
    assert all(b"line %d " % number in window.sent for number in range(1000))
    terminal.draw(["block at the end"])
    terminal.print_above(["the last line"])
    assert window.rows()[-2:] == ["the last line", "block at the end"]


def test_of_what_a_stopped_terminal_is_sent_no_more_than_a_mebibyte_is_kept(window, terminal):
    line = "x" * 10_000
    for _ in range(300):
        terminal.print_above([line])
    while not terminal.pump():
        window.take()
    window.take()
    terminal.print_above(["the next"])
    assert window.rows()[-1] == "the next"
    assert 1 << 20 < len(window.sent) < 3 << 20
    assert b"lines are left out" in window.sent


def test_a_closed_terminal_is_no_fault(window, terminal):
    os.close(window.outer)
    terminal.draw(["block"])
    terminal.print_above(["line"])
    terminal.clear()
    assert terminal.pump()


@pytest.mark.parametrize(
    "line, shown",
    [
        ("a\x1b[2Jb\tc\x07 \u6570", "ab      c  \u6570"),
        ("\x1b[32mgreen\x1b[0m", "\x1b[32mgreen\x1b[0m"),
        ("\x1b]0;title\x07text\x1b[10A\x1b[?25l", "text"),
        (" 10 %\r 20 %\r 30 %\r", " 30 %"),
        ("half a sequence \x1b", "half a sequence "),
    ],
)
def test_a_line_keeps_its_colours_and_nothing_that_moves_the_cursor(line, shown):
    assert printable_line(line) == shown


def test_characters_that_the_terminal_does_not_have_are_shown_by_their_numbers(window):
    Terminal(window.inner, "ascii").print_above(["\u2501"])
    assert window.rows() == ["\\u2501"]
