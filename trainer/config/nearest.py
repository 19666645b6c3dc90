"""Which known name is meant by one that does not exist?

`closest` and `nearest` suggest a name only where the spelling is close: a wrong hint is worse than none.
"""

import difflib
from collections.abc import Iterable

_CUTOFF = 0.7  # "miror" and "mirrored" have 0.77, "ram" and "stream" 0.67.
_MIN_PART = 4  # Letters that a part of a longer name needs to be a hint at it, e.g. "rate".


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that is spelled most like `word`, or "" where none is close."""
    known = [*known]
    swapped = [other for other in known if sorted(other) == sorted(word)]  # "sdg" for "sgd".
    found = swapped or difflib.get_close_matches(word, known, n=1, cutoff=_CUTOFF)
    return found[0] if found else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """The known dotted name that `name` probably means, or "" where none is close.

    What follows the last dot counts most, so that "data.seed" finds "train.seed".
    """
    section, _, leaf = name.rpartition(".")
    leaves: dict[str, str] = {}
    for other in sorted(known, key=lambda other: other.rpartition(".")[0] == section):
        leaves[other.rpartition(".")[2]] = other  # Of two equal leaves the one in this section.
    near = closest(leaf, leaves)
    if not near and len(leaf) >= _MIN_PART:
        near = next((other for other in leaves if leaf in other), "")
    return leaves.get(near, "")
