"""How is a value, a metric or a duration shown in a few characters?

The functions here return printable ASCII on one line. So one character is one terminal column, and
nothing in a value or an error message can move the cursor.
"""

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def printable(text: str) -> str:
    """The text in printable ASCII. Control characters become spaces, others escapes like "\\u6570"."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown.encode("ascii", "backslashreplace").decode()


def one_line(text: str, width: int) -> str:
    """The text on one line of at most `width` columns; a longer one ends with "..."."""
    shown = " ".join(printable(text).split())
    return shown if len(shown) <= width else (shown[: max(width - 3, 0)] + "...")[:width]


def format_value(value: Any, width: int = 24) -> str:
    """A field's value as a person would type it: 128,64 for (128, 64), 3.16e-5 for 0.0000316."""
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _format_float(value)
    if isinstance(value, (tuple, list)):
        return one_line(",".join(map(format_value, value)) or "()", width)
    return one_line(str(value), width)


def canonical_text(value: Any) -> str:
    """The value's whole text; equal values give equal texts: 64 and 64.0, (128, 64) and "128,64"."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value).removesuffix(".0")
    if isinstance(value, (tuple, list)):
        return ",".join(map(canonical_text, value)) or "()"
    return format_value(value, sys.maxsize)


def format_metric(value: float | None) -> str:
    """A measured number: 0.9633, 12.25, 148,000."""
    if value is None or not math.isfinite(value):
        return str(value).lower()
    if value and abs(value) < 0.001:
        return _short_exponent(f"{value:.2e}")
    if abs(value) >= 1e9:
        return _short_exponent(f"{value:.3e}")
    digits = 4 if abs(value) < 10 else 2 if abs(value) < 1000 else 0
    return f"{value:,.{digits}f}"


def format_duration(seconds: float) -> str:
    """34 s, 1 min 20 s, 2 h 05 min."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Maps each dotted name to its last part, or to the whole name if two end in the same part."""
    leaves = {name: name.removeprefix("--").rpartition(".")[2] for name in names}
    counts: dict[str, int] = {}
    for leaf in leaves.values():
        counts[leaf] = counts.get(leaf, 0) + 1
    return {name: leaf if counts[leaf] == 1 else name for name, leaf in leaves.items()}


def format_values(values: Mapping[str, Any]) -> str:
    """All values of a trial: `learning_rate=0.003 hidden_units=128,64`."""
    short = short_names(values)
    return " ".join(f"{short[name]}={format_value(value)}" for name, value in values.items())


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of right-aligned columns, each as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.rjust, row, widths)).rstrip() for row in rows]


def _format_float(value: float) -> str:
    if value.is_integer() and abs(value) < 1e6:
        return str(int(value))
    return _short_exponent(f"{value:.3g}")


def _short_exponent(text: str) -> str:
    """1e-05 as 1e-5, and 1.00e+06 as 1e6."""
    mantissa, mark, power = text.partition("e")
    if not mark:
        return text
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(power)}"
