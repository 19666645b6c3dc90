"""Which hosts does a short list stand for?

Slurm writes "node[01-03,07],login" for node01, node02, node03, node07 and login. `--cluster` takes the
same, with a port after each: "node[01-03]:2222".
"""

import itertools
import math
import re

_MOST = 10_000  # More than a cluster has; a slip in a range names millions.
_RANGE = re.compile(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*")


def split(text: str, separator: str = ",") -> list[str]:
    """The parts between separators that stand outside of brackets. None of an empty text."""
    depth, parts = 0, [""]
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == separator and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts if text else []


def expand(text: str) -> list[str]:
    """Every name of a list, in its order; of several brackets in one name the last counts fastest.

    Numbers keep the zeros that a range begins with: [08-10] is 08, 09, 10.

    Raises:
      ValueError: it is no such list, and why.
    """
    names: list[str] = []
    for part in split(text):
        names += _names(part)
        if len(names) > _MOST:
            raise ValueError(f"more than {_MOST:,} hosts")
    return names


def _names(part: str) -> list[str]:
    if not part:
        raise ValueError("a name is missing beside a comma")
    if part.count("[") != part.count("]"):
        raise ValueError("a bracket is left open")
    # IPv6 addresses stand in brackets too: what holds no range is taken as it is.
    pieces = re.split(r"(\[[0-9,-]*\])", part)
    choices = [_numbers(piece) if place % 2 else [piece] for place, piece in enumerate(pieces)]
    if math.prod(map(len, choices)) > _MOST:
        raise ValueError(f"more than {_MOST:,} hosts")
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _numbers(bracket: str) -> list[str]:
    inner = bracket[1:-1]
    if not _RANGE.fullmatch(inner):
        raise ValueError(f"{bracket} is no range, as in [01-03,07]")
    numbers: list[str] = []
    for first, _, last in (one.partition("-") for one in inner.split(",")):
        low, high = int(first), int(last or first)
        if not low <= high < low + _MOST:
            raise ValueError(f"{bracket} does not count up by fewer than {_MOST:,}")
        numbers += [str(number).zfill(len(first)) for number in range(low, high + 1)]
    return numbers
