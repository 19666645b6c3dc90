"""How is a line printed, whatever stdout and stderr are? Printing never raises and never blocks for long.

A stream may be closed, full, in an encoding without the line's characters, or a pipe whose reader is gone
or has stopped reading. A process that is about to save or to exit must do so all the same. So lines go to
stderr through a descriptor of their own that does not block, for at most `PATIENCE_S`.
"""

import contextlib
import io
import os
import select
import stat
import sys
import time
from collections.abc import Callable

from strategies.errors import InputError, os_reason

_STANDARD = (0, 1, 2)
PATIENCE_S = 10.0  # For a reader that is busy. One that reads nothing for so long has stopped.
_is_quiet = False
_at_end: Callable[[], None] | None = None


class OutputError(InputError):
    """What the command was asked to print cannot be written."""


def set_up() -> None:
    """Makes the standard streams usable. Call it first in a process, before it opens a file.

    A closed one becomes /dev/null: otherwise the next file to be opened would be stdout, and get what
    native code prints. Characters that a screen does not have are shown as in `\\xe9`.
    """
    for number in _STANDARD:
        try:
            os.fstat(number)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_in_foreground(terminal: int) -> bool:
    """Whether it is this process's turn to draw on a terminal, and not the shell's or another job's."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return True  # It is another session's, as of a container's: so nobody else's turn either.


def set_quiet() -> None:
    """From now on nothing is printed of what people only follow."""
    global _is_quiet  # noqa: PLW0603, as it is the process that is quiet.
    _is_quiet = True


def print_line(line: str) -> None:
    """Prints the line on stderr at once, in one write, as other processes may write to the same pipe."""
    data = f"{line}\n".encode(sys.stderr.encoding or "utf-8", "backslashreplace")
    write_in_time(2, data, PATIENCE_S)


def print_progress(text: str) -> bool:
    """Prints on stdout what people follow, unless asked to be quiet. False where the reader is gone."""
    return _is_quiet or print_outcome(text)


def print_outcome(text: str) -> bool:
    """Prints on stdout what people waited for; its loss is no fault. False where the reader is gone."""
    try:
        _write_out(text)
    except BrokenPipeError:
        _discard_stdout()
        return False
    except (OSError, ValueError):
        pass  # ValueError: the stream is closed.
    return True


def print_result(text: str) -> None:
    """Prints on stdout what the command was asked for. A reader that is gone has read enough.

    Raises:
      OutputError: it cannot be written.
    """
    try:
        _write_out(text)
    except BrokenPipeError:
        _discard_stdout()
    except OSError as error:
        raise OutputError(
            f"`stdout` cannot be written ({os_reason(error)}). Received: the output of this command; "
            "send it to a place with free space."
        ) from None


def error_line(message: str) -> str:
    """The line on which a person finds why the program ended. Programs read its exit record."""
    return f"muster: error: {message}"


def flush() -> None:
    """Writes out what was printed so far, as far as its readers take it within `PATIENCE_S`."""
    deadline = time.monotonic() + PATIENCE_S
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        # Not in a thread with a deadline, as a process that is out of memory cannot start one.
        poll = select.poll()
        poll.register(number, select.POLLOUT)
        with contextlib.suppress(OSError, ValueError):  # ValueError: the stream is closed.
            if poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                stream.flush()


def finish() -> None:
    """Writes out what was printed, for a process that is about to end or to print its last lines."""
    flush()
    if _at_end:
        _at_end()


def set_at_end(act: Callable[[], None]) -> None:
    """Has `finish` call this too, as where another process shows what is printed."""
    global _at_end  # noqa: PLW0603, as a process has one end.
    _at_end = act


def unblocked(number: int) -> int:
    """A descriptor of the same stream on which no write blocks, where it is a pipe or a terminal.

    It has a setting of its own, which other processes with the same stream do not see.
    """
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(os.fstat(number).st_mode) or os.isatty(number):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            return os.open(f"/proc/self/fd/{number}", flags)
    return os.dup(number)  # A file, which does not block, or a socket.


def write_in_time(number: int, data: bytes, patience_s: float) -> bytes:
    """Writes the data to a stream, and returns what of it could not be written within `patience_s`.

    With no patience it writes what the stream takes at once.
    """
    deadline = time.monotonic() + patience_s
    with contextlib.suppress(OSError):
        descriptor = unblocked(number)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            while data:
                left_s = max(0.0, deadline - time.monotonic())
                if poll.poll(min(left_s, PATIENCE_S) * 1000):
                    with contextlib.suppress(BlockingIOError):
                        data = data[os.write(descriptor, data) :]
                if not left_s:
                    break
        finally:
            os.close(descriptor)
    return data


def _write_out(text: str) -> None:
    sys.stdout.write(f"{text}\n")  # In one piece, as other processes may write to the same pipe.
    sys.stdout.flush()


def _discard_stdout() -> None:
    """Drops what could not be written, which the interpreter would report at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
