"""Which lines of an earlier attempt still hold?

A run that was killed had written of steps that its last checkpoint does not know. They are taken again,
with the same outcome, and would stand in the file twice.
"""

import json
import pathlib


def truncate_after_step(path: pathlib.Path, last_step: int) -> None:
    """Takes off the end of a file of JSON lines what is of later steps, or is no whole line.

    Raises OSError; a file that is not there needs no cutting.
    """
    try:
        with open(path, "rb+") as file:
            kept = 0
            for line in file:
                if not line.endswith(b"\n") or not _is_kept(line, last_step):
                    break
                kept += len(line)
            file.truncate(kept)
    except FileNotFoundError:
        return


def _is_kept(line: bytes, last_step: int) -> bool:
    try:
        return json.loads(line)["step"] <= last_step
    except (ValueError, KeyError, TypeError):
        return False
