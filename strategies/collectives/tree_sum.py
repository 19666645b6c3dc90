"""In which order is a sum of many terms added?

`tree_sum` adds neighbours in pairs, within a replica and between workers alike: otherwise the bits of the
total would depend on how the terms are divided among workers.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any


def tree_sum(terms: Sequence[Any], add: Callable[[Any, Any], Any] = operator.add) -> Any:
    """((0 + 1) + (2 + 3)) + ...: neighbours first, then the sums of neighbours."""
    terms = list(terms)
    while len(terms) > 1:
        pairs = [add(*pair) for pair in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[len(pairs) * 2 :]
    return terms[0]
