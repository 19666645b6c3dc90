"""How is a line printed when the reader of stderr may be gone? An error of the stream is ignored.

The reader may have been killed, as a launcher or a terminal is. A process that is about to save or to
exit must do so all the same.
"""

import contextlib
import sys


def print_line(line: str) -> None:
    """Prints the line on stderr at once, in one write, as other processes may write to the same pipe."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def error_line(message: str) -> str:
    """The line on which a person finds why the program ended. Programs read its exit record."""
    return f"muster: error: {message}"


def flush() -> None:
    """Writes out what was printed so far."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
