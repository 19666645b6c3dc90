"""How is a trial said in a few characters?

All of it is printable ASCII on one line, as in an error of this trainer, so that a character is a column
and nothing that a value or an error holds can move a terminal's cursor.
"""

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any


def printable(text: str) -> str:
    """The text in printable ASCII: what is not is a space, or spelled out as in "\\u6570"."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown.encode("ascii", "backslashreplace").decode()


def line(text: str, width: int) -> str:
    """The text on one line of at most `width` columns, with dots for what it had more."""
    shown = " ".join(printable(text).split())
    return shown if len(shown) <= width else (shown[: max(width - 3, 0)] + "...")[:width]


def value(given: Any, width: int = 24) -> str:
    """A value as a person would write it: 128,64 for (128, 64), 3.16e-5 for 0.0000316."""
    if given is None or given == "":
        return "none"
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, float):
        return _number(given)
    if isinstance(given, (tuple, list)):
        return line(",".join(map(value, given)) or "()", width)
    return line(str(given), width)


def exact(given: Any) -> str:
    """A value's whole text, alike for what is the same: 64 and 64.0, (128, 64) and "128,64"."""
    if isinstance(given, (int, float)) and not isinstance(given, bool):
        return str(given).removesuffix(".0")
    if isinstance(given, (tuple, list)):
        return ",".join(map(exact, given)) or "()"
    return value(given, sys.maxsize)


def figure(given: float | None) -> str:
    """A figure that was measured: 0.9633, 12.25, 148,000."""
    if given is None or not math.isfinite(given):
        return str(given).lower()
    if given and abs(given) < 0.001:
        return _exponent(f"{given:.2e}")
    if abs(given) >= 1e9:
        return _exponent(f"{given:.3e}")
    digits = 4 if abs(given) < 10 else 2 if abs(given) < 1000 else 0
    return f"{given:,.{digits}f}"


def duration(seconds: float) -> str:
    """34 s, 1 min 20 s, 2 h 05 min."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def names(dotted: Iterable[str]) -> dict[str, str]:
    """Each name's last dotted part, or the whole name where another one ends alike."""
    leaves = {name: name.removeprefix("--").rpartition(".")[2] for name in dotted}
    counts: dict[str, int] = {}
    for leaf in leaves.values():
        counts[leaf] = counts.get(leaf, 0) + 1
    return {name: leaf if counts[leaf] == 1 else name for name, leaf in leaves.items()}


def values(given: Mapping[str, Any]) -> str:
    """All values of a trial: `learning_rate=0.003 hidden_units=128,64`."""
    short = names(given)
    return " ".join(f"{short[name]}={value(one)}" for name, one in given.items())


def _number(given: float) -> str:
    if given.is_integer() and abs(given) < 1e6:
        return str(int(given))
    return _exponent(f"{given:.3g}")


def _exponent(text: str) -> str:
    """1e-05 as 1e-5, and 1.00e+06 as 1e6."""
    mantissa, mark, power = text.partition("e")
    if not mark:
        return text
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(power)}"
