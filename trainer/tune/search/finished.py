"""Has a sweep come to its end, for who reads its folder and does not hold it?

A client that is lost in the last moments may be started again after its chief has ended, and would wait
for it in vain. Where the two share a folder the ledger tells.
"""

import pathlib
import shutil
import tempfile
from collections.abc import Callable

from strategies.errors import InputError
from trainer.tune.search.search import Search


def is_over(folder: pathlib.Path, search_in: Callable[[pathlib.Path], Search]) -> bool:
    """Whether the sweep in a folder has no trial left; `search_in` makes its search from a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        try:  # In a copy, as the ledger is the chief's: who asks for a trial is given it there.
            shutil.copy(folder / "ledger.jsonl", scratch)
            search = search_in(pathlib.Path(scratch))
            return search.ask("nobody") is None and search.is_over
        except (InputError, OSError):
            return False  # None that can be read, or another sweep's.
