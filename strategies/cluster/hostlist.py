"""Which host names does a compact host list contain?

`expand` lists them. Slurm writes "node[01-03,07],login" for node01, node02, node03, node07 and login.
`--cluster` accepts the same, with a port after each: "node[01-03]:2222".
"""

import itertools
import math
import re

_MAX_NAMES = 10_000  # More than a cluster has; a typing error in a range may mean millions.
_RANGE = re.compile(r"[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*")


def split(text: str, separator: str = ",") -> list[str]:
    """The parts between separators outside of brackets. An empty text has no parts."""
    depth, parts = 0, [""]
    for character in text:
        depth += (character == "[") - (character == "]")
        if character == separator and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts if text else []


def expand(text: str) -> list[str]:
    """Every name of a list, in its order. Where a name has several brackets, the last varies fastest.

    Numbers keep the leading zeros of the range: [08-10] is 08, 09, 10.

    Raises:
      ValueError: the text is not a host list, with the reason; or it has more than 10,000 names.
    """
    names: list[str] = []
    for part in split(text):
        names += _names(part)
        if len(names) > _MAX_NAMES:
            raise ValueError(f"more than {_MAX_NAMES:,} hosts")
    return names


def _names(part: str) -> list[str]:
    if not part:
        raise ValueError("a name is missing before or after a comma")
    if part.count("[") != part.count("]"):
        raise ValueError("a bracket is not closed")
    # IPv6 addresses have brackets too; those that do not contain ranges are kept as they are.
    pieces = re.split(r"(\[[0-9,-]*\])", part)
    choices = [_numbers(piece) if index % 2 else [piece] for index, piece in enumerate(pieces)]
    if math.prod(map(len, choices)) > _MAX_NAMES:
        raise ValueError(f"more than {_MAX_NAMES:,} hosts")
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def _numbers(bracket: str) -> list[str]:
    inner = bracket[1:-1]
    if not _RANGE.fullmatch(inner):
        raise ValueError(f"{bracket} must list numbers or ranges, as in [01-03,07]")
    numbers: list[str] = []
    for first, _, last in (part.partition("-") for part in inner.split(",")):
        low, high = int(first), int(last or first)
        if not low <= high < low + _MAX_NAMES:
            raise ValueError(f"{bracket} must count up, over at most {_MAX_NAMES:,} numbers")
        numbers += [str(number).zfill(len(first)) for number in range(low, high + 1)]
    return numbers
