"""How is a line said, where perhaps nobody listens any more?

Who read the screen may have been killed, a launcher or a terminal. A process that is about to save, or
to end, does so all the same.
"""

import contextlib
import sys


def print_line(line: str) -> None:
    """The line on stderr, at once, and in one piece: others write to the same pipe."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def error_line(message: str) -> str:
    """The line on which a person finds why the program ended. Programs read its exit record."""
    return f"muster: error: {message}"


def flush() -> None:
    """What was printed is out."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
