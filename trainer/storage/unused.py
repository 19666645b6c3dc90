"""Is the folder of a run worth keeping? `remove` deletes one in which nothing was computed.

A refused run is corrected and started again, in another new folder: what it leaves would only be clutter.
"""

import contextlib
import pathlib

_BEFORE_THE_FIRST_STEP = {"config.json", ".lock"}


def remove(folder: pathlib.Path) -> None:
    """Deletes the folder of a refused run, and an empty `runs/`; keeps a folder with any other file."""
    with contextlib.suppress(OSError):
        found = [*folder.iterdir()]
        if {path.name for path in found} <= _BEFORE_THE_FIRST_STEP:
            for path in found:
                path.unlink()
            folder.rmdir()
            folder.parent.rmdir()
