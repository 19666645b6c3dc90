"""Which types may a field have, and how is each read?

`KINDS` maps a Python type to a `Kind`, which parses the text that a person typed and checks a value from
Python or JSON.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """A type that a field may have. `parse` and `accept` raise ValueError for any other value."""

    description: str
    parse: Callable[[str], Any]
    accept: Callable[[Any], Any]


TEXTS = tuple[str, ...]  # A flag that may be given several times.


def _only(*types: type) -> Callable[[Any], Any]:
    """Accepts exactly these types: True is no integer here, although it is one in Python."""

    def accept(value: Any) -> Any:
        if type(value) not in types:
            raise ValueError(value)
        return value

    return accept


def _integer(value: Any) -> int:
    """Accepts 64.0, too: JSON and YAML files, and services that search, write whole numbers so."""
    number = _only(int, float)(value)
    if number != int(number):  # Which raises OverflowError or ValueError for infinity and NaN.
        raise ValueError(value)
    return int(number)


def _parse_integer(text: str) -> int:
    """Reads "64", and "64.0" and "6.4e1"."""
    try:
        return int(text)
    except ValueError:
        return _integer(_exact(text))


def _exact(text: str) -> float:
    number = float(text)
    if not abs(number) < 2**53:  # Beyond that a float is not exactly what was typed.
        raise ValueError(text)
    return number


def _finite(value: Any) -> float:
    number = float(_only(int, float)(value))
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _printable(value: Any) -> str:
    if not _only(str)(value).isprintable():
        raise ValueError(value)
    return value


def _parse_boolean(text: str) -> bool | str:
    """As absl reads a boolean flag; any other text is left for `accept` to refuse."""
    words = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    return words.get(text.lower(), text)


def _integers(value: Any) -> tuple[int, ...]:
    return tuple(map(_integer, _only(list, tuple)(value)))


def _parse_list(text: str) -> list[str]:
    """The parts of "128,64", "(128, 64)" and "[128]"; none of "()"."""
    inner = text.strip()
    bracketed = inner[:1] + inner[-1:] in ("()", "[]")
    inner = inner[1:-1].strip() if bracketed else inner
    return [] if bracketed and not inner else inner.removesuffix(",").split(",")


def _parse_integers(text: str) -> tuple[int, ...]:
    return tuple(map(_parse_integer, _parse_list(text)))


def _parse_numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, _parse_list(text)))


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(map(_finite, _only(list, tuple)(value)))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_printable, _only(list, tuple)(value)))


KINDS = {
    int: Kind("an integer", _parse_integer, _integer),
    float: Kind("a finite number", float, _finite),
    bool: Kind("true or false", _parse_boolean, _only(bool)),
    str: Kind("one line of text", str, _printable),
    tuple[int, ...]: Kind("integers, as in 128,64, or () for none", _parse_integers, _integers),
    tuple[float, ...]: Kind("numbers, as in 2,1.5, or () for none", _parse_numbers, _numbers),
    TEXTS: Kind("lines of text", lambda text: (text,), _texts),
}
