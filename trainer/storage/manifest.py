"""Is a checkpoint's manifest intact, and does this program read its format?

`read` verifies the seal, then the format, and fills in the fields that earlier versions did not write.
The policy for formats is in checkpoints.py.
"""

import hashlib
import json
import pathlib
from typing import Any

from strategies.errors import InputError
from trainer import __version__
from trainer.storage.safe_reading import read_json

NAME = "manifest.json"
FORMAT = 2
# What a manifest that lacks a field means by that. The first release did not write `program`.
_DEFAULTS = {"format": 2, "program": "", "best": None, "seconds": 0.0}


class UnsupportedFormatError(InputError):
    """An intact checkpoint has a format that this program does not read."""


def to_json(fields: dict[str, Any]) -> str:
    """The text of a manifest with these fields, the format, this program's version and the seal."""
    manifest = {"format": FORMAT, "program": __version__} | fields
    return json.dumps(manifest | {"seal": _seal(manifest)}, indent=2)


def read(folder: pathlib.Path) -> dict[str, Any]:
    """The manifest of the checkpoint in a folder; fields that it lacks have their defaults.

    Raises:
      UnsupportedFormatError: it is intact, but has another format.
      OSError, ValueError: it is missing or damaged.
    """
    manifest = read_json(folder / NAME)
    if not isinstance(manifest, dict) or manifest.get("seal") != _seal(manifest):
        raise ValueError("its manifest is damaged")
    manifest = _DEFAULTS | manifest
    if type(manifest["format"]) is not int:
        raise ValueError(f"its format is {manifest['format']!r}, not an integer")
    if manifest["format"] != FORMAT:
        raise _unsupported(folder, manifest["format"], manifest["program"])
    return manifest


def check_types(manifest: dict[str, Any]) -> None:
    """Raises ValueError, TypeError or KeyError where a field of a checkpoint has another type.

    Their values are not verified: the seal has no key, so anyone who can write there can write others.
    """
    metrics, test = manifest["metrics"], manifest["test"]
    for name, values in (("metrics", metrics), ("test", {} if test is None else test)):
        if not isinstance(values, dict) or not all(map(_is_number, values.values())):
            raise ValueError(f"its {name} are not numbers by name")
    counts = [*manifest["skipped"], manifest["threads"]]
    if not all(type(count) is int and 0 <= count < 2**31 for count in counts):
        raise ValueError("its skipped steps or threads are not counts")


def _is_number(value: Any) -> bool:
    return value is None or type(value) in (int, float)


def _seal(manifest: dict[str, Any]) -> str:
    """sha256 over all other fields of a manifest."""
    rest = {name: value for name, value in manifest.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _unsupported(folder: pathlib.Path, format_: int, program: Any) -> UnsupportedFormatError:
    is_newer = format_ > FORMAT
    writer = "a newer version" if is_newer else "an older version"
    if isinstance(program, str) and program and program.isprintable():
        writer = f"muster {program}"
    fix = "install that version or a newer one" if is_newer else "finish the run with that version"
    return UnsupportedFormatError(
        f"`--workdir` must hold checkpoints of format {FORMAT}, which muster {__version__} reads. "
        f"Received: {str(folder)!r} of format {format_}, written by {writer}; {fix}, or choose another "
        "folder."
    )
