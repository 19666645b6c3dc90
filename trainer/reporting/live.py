"""Who draws the live view? A process of its own, forked before the work starts.

What the working process prints, from any library, goes to the drawing process through a pipe. That
prints the lines above the block, and draws the block from events. So drawing takes no time from training,
a stopped or closed terminal blocks nobody, and the last words of a process that crashed are still shown.
"""

import contextlib
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Mapping

from trainer.process import console, event_stream
from trainer.process.event_stream import CLOSED

_FRAME_S = 0.25
_DRAW_FIRST_S = 0.1
_LAST_WORDS_S = 10.0  # For a terminal that is stopped when the work has ended.
_SURVIVED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)  # The work ends by them.

_drawing: "_Drawing | None" = None


class _Drawing:
    """The working process's side. `originals`: its streams that were a terminal, by descriptor."""

    def __init__(self, pid: int, originals: Mapping[int, int]):
        self._pid, self._originals, self._owner = pid, originals, os.getpid()

    def finish(self) -> None:
        """Gives the terminal back. Returns once the last line is shown."""
        is_owner = os.getpid() == self._owner
        if is_owner:  # Others may keep the pipe open.
            event_stream.write({"event": CLOSED})
        event_stream.stop()
        for number, original in self._originals.items():
            os.dup2(original, number)
            os.close(original)
        if not is_owner:
            return  # It is a fork, and the view is not its own.
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(self._pid)
            select.select([descriptor], [], [], _LAST_WORDS_S + 1)
            os.close(descriptor)
            os.waitpid(self._pid, os.WNOHANG)


def is_possible(number: int) -> bool:
    """Whether a view can be drawn on this stream: it is a terminal, and this process's turn."""
    if not os.isatty(number) or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return console.is_in_foreground(number)


def start(number: int) -> bool:
    """Draws the view of this process's events on the terminal `number`, 1 or 2, until `console.finish`.

    Call it before there are threads. False, with nothing changed, where that cannot be done.
    """
    global _drawing  # noqa: PLW0603, as a process has one.
    from trainer.reporting.terminal import Terminal

    encoding = (sys.stdout if number == 1 else sys.stderr).encoding or "utf-8"
    try:
        terminal = Terminal(number, encoding)
        reading, writing = os.pipe()
        console.flush()
        parent = os.getpid()
        pid = os.fork()
    except OSError:
        return False
    if not pid:
        _draw(terminal, reading, writing, parent)
    os.close(reading)
    os.close(terminal.fileno())
    shown = [one for one in (1, 2) if os.isatty(one)]
    originals = {one: os.dup(one) for one in shown}
    for one in shown:
        os.dup2(writing, one)
    os.close(writing)
    _drawing = _Drawing(pid, originals)
    console.set_at_end(_finish)
    event_stream.start(number, event_stream.MARK)
    return True


def _finish() -> None:
    global _drawing
    drawing, _drawing = _drawing, None
    if drawing:
        drawing.finish()


def _draw(terminal, reading: int, writing: int, parent: int) -> None:
    """The life of the drawing process. It never returns."""
    drawer = None
    try:
        os.close(writing)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCONT, signal.SIGWINCH})
        for number in _SURVIVED:
            signal.signal(number, signal.SIG_IGN)
        drawer = _Drawer(terminal, reading, parent)
        drawer.run()
    except Exception:
        terminal.print_above(traceback.format_exc().splitlines())
        _copy(drawer.unshown if drawer else b"", reading, terminal.fileno())
    finally:
        os._exit(0)


def _copy(data: bytes, reading: int, terminal: int) -> None:
    """Shows at least what the process writes, as it is. After a fault of the view, as its last resort.

    `data`: what has been read and not been shown.
    """
    os.set_blocking(reading, True)
    while data := data or os.read(reading, 1 << 16):
        console.write_in_time(terminal, data, _LAST_WORDS_S)
        data = b""


class _Drawer:
    """Reads lines and events until their writers are gone, and draws at most every `_FRAME_S`."""

    def __init__(self, terminal, reading: int, parent: int):
        from trainer.reporting.screen_view import ScreenView

        self._terminal, self._reading, self._parent = terminal, reading, parent
        self._view = ScreenView()
        self._rest = b""  # The beginning of a line.
        self.unshown = b""  # What has been read and not been shown.
        self._draw_at = time.monotonic() + _DRAW_FIRST_S
        self._awake = _wakeups()

    def run(self) -> None:
        os.set_blocking(self._reading, False)
        is_read = False
        while not is_read:
            ready = self._wait(
                max(0.0, self._draw_at - time.monotonic()), self._reading, self._awake
            )
            # Not only where it is ready: a wait that a suspension has outlasted says nothing.
            self._wake()
            if self._reading in ready:
                is_read = not self._read() or self._view.is_closed
            elif os.getppid() != self._parent:
                is_read = True  # What it left behind may keep the pipe open forever.
            if time.monotonic() >= self._draw_at:
                self._draw_at = time.monotonic() + _FRAME_S
                self._draw()
        self._end()

    def _wait(self, seconds: float, *descriptors: int) -> list[int]:
        """Which of them can be read, within that time. The terminal takes meanwhile what it can."""
        poll = select.poll()
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        if not self._terminal.pump():
            poll.register(self._terminal.fileno(), select.POLLOUT)
        return [descriptor for descriptor, _ in poll.poll(seconds * 1000)]

    def _wake(self) -> None:
        """After a suspension the block is somewhere above what the shell has printed."""
        try:
            signals = os.read(self._awake, 1024)
        except BlockingIOError:
            return
        if signal.SIGCONT in signals:
            self._terminal.forget()
        self._draw_at = 0.0

    def _read(self) -> bool:
        """Handles what has come; False once all writers are gone."""
        try:
            data = os.read(self._reading, 1 << 16)
        except BlockingIOError:
            return True
        self.unshown = self._rest + data
        *lines, self._rest = self.unshown.split(b"\n")
        if not data and self._rest:
            lines, self._rest = [self._rest], b""
        shown = [line for raw in lines for line in self._view.feed(raw.decode(errors="replace"))]
        if shown:
            if not self._terminal.is_in_foreground:
                self._terminal.forget()
            self._terminal.print_above(shown)
        self.unshown = self._rest
        return bool(data)

    def _draw(self) -> None:
        if not self._terminal.is_in_foreground:
            self._terminal.forget()
            self._terminal.pump()
            return
        size = self._terminal.size
        self._terminal.draw(self._view.lines(size.columns, size.lines, self._terminal.encoding))

    def _end(self) -> None:
        if self._view.is_closed and self._terminal.is_in_foreground:
            self._terminal.clear()
        deadline = time.monotonic() + _LAST_WORDS_S
        while not self._terminal.pump() and time.monotonic() < deadline:
            self._wait(_FRAME_S)


def _wakeups() -> int:
    """A descriptor that becomes readable when this process is continued or its window changes."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    for number in (signal.SIGCONT, signal.SIGWINCH):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading
