"""How is a text printed that another process sent? As one line without control characters.

Everything from the wire that reaches a screen or a log passes through `printable_line`: a terminal would
obey escape sequences in it, and a line break could forge a line of the log.
"""


def printable_line(received: object, max_chars: int = 1000) -> str:
    """The text in one line of at most `max_chars`, with what is not printable escaped: ESC as \\x1b."""
    words = " ".join(str(received)[: 4 * max_chars].split())
    shown = "".join(map(_printable, words[: 4 * max_chars]))
    return shown if len(shown) <= max_chars else shown[: max_chars - 3] + "..."


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
