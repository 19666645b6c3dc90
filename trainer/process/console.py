"""How is a line printed, whatever stdout and stderr are? Printing never raises and never blocks for long.

A stream may be closed, full, in an encoding without the line's characters, or a pipe whose reader is gone
or has stopped reading. A process that is about to save or to exit must do so all the same. So lines go to
stderr through a descriptor of their own that does not block, for at most `_PATIENCE_S`.
"""

import contextlib
import io
import os
import select
import stat
import sys
import time

from strategies.errors import InputError, os_reason

_STANDARD = (0, 1, 2)
_PATIENCE_S = 10.0  # For a reader that is busy. One that reads nothing for so long has stopped.


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


def print_line(line: str) -> None:
    """Prints the line on stderr at once, in one write, as other processes may write to the same pipe."""
    _write_in_time(f"{line}\n".encode(sys.stderr.encoding or "utf-8", "backslashreplace"))


def print_progress(text: str) -> bool:
    """Prints on stdout what people follow; its loss is no fault. False where the reader is gone."""
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
    """Writes out what was printed so far, as far as its readers take it within `_PATIENCE_S`."""
    deadline = time.monotonic() + _PATIENCE_S
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        # Not in a thread with a deadline, as a process that is out of memory cannot start one.
        poll = select.poll()
        poll.register(number, select.POLLOUT)
        with contextlib.suppress(OSError, ValueError):  # ValueError: the stream is closed.
            if poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                stream.flush()


def unblocked_stderr() -> int:
    """A descriptor of stderr on which no write blocks, where it is a pipe or a terminal.

    It has a setting of its own, which other processes with the same stderr do not see.
    """
    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(os.fstat(2).st_mode) or os.isatty(2):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            return os.open("/proc/self/fd/2", flags)
    return os.dup(2)  # A file, which does not block, or a socket.


def _write_out(text: str) -> None:
    sys.stdout.write(f"{text}\n")  # In one piece, as other processes may write to the same pipe.
    sys.stdout.flush()


def _discard_stdout() -> None:
    """Drops what could not be written, which the interpreter would report at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _write_in_time(data: bytes) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    with contextlib.suppress(OSError):
        descriptor = unblocked_stderr()
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLOUT)
            while data and (left_s := deadline - time.monotonic()) > 0:
                if poll.poll(left_s * 1000):
                    with contextlib.suppress(BlockingIOError):
                        data = data[os.write(descriptor, data) :]
        finally:
            os.close(descriptor)
