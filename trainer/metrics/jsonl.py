"""Which lines of an earlier attempt are still valid?

Those of steps up to the checkpoint that a run resumes from. A killed run may have logged later steps too;
they are repeated, with the same result, and would be in the file twice.
"""

import pathlib

from trainer.storage.safe_reading import parse_json


def truncate_after_step(path: pathlib.Path, last_step: int) -> None:
    """Cuts a file of JSON lines before the first line of a later step, or that is incomplete.

    Does nothing where there is no such file. Raises OSError.
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
        return parse_json(line)["step"] <= last_step
    except (ValueError, KeyError, TypeError):
        return False
