"""Has the sweep in a folder finished? (Answers a client that cannot reach the server.)

A client may be started again after its server has exited, and would wait for it until its timeout. If the
two share the sweep's folder, the ledger there shows that no trial is left.
"""

import pathlib
import shutil
import tempfile
from collections.abc import Callable

from strategies.errors import InputError
from trainer.tune.search.search import Search


def has_finished(folder: pathlib.Path, open_search: Callable[[pathlib.Path], Search]) -> bool:
    """Whether the sweep in `folder` has no trial left. `open_search` opens the search of a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        try:  # On a copy: asking for a trial writes to the ledger, which belongs to the server.
            shutil.copy(folder / "ledger.jsonl", scratch)
            search = open_search(pathlib.Path(scratch))
            return search.ask("nobody") is None and search.is_finished
        except (InputError, OSError):
            return False  # There is no readable ledger, or it belongs to another sweep.
