"""What is in an .npz file? Arrays by name, as `numpy.savez` stores them.

`npz:FILE`: x_train, y_train, x_test and y_test are two splits, x and y a single one. Arrays that are
stored without compression are memory-mapped where they are large.
"""

import zipfile
from pathlib import Path

import numpy as np

from trainer.data.address import Address
from trainer.data.sources import files
from trainer.data.table import Arrays, Opened, by_split, check_lengths

_LOADED_BYTES = 1 << 30  # Larger files are mapped, if they are not compressed.


def open_source(address: Address) -> Opened:
    (path,) = files.found(address, exactly=1)
    with files.reported(address, path):
        splits = by_split(str(address), _columns(path))
    for split, columns in splits.items():
        check_lengths(str(address), split, columns)
    return Opened({split: Arrays(columns) for split, columns in splits.items()}, (path,))


def _columns(path: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
        if stored and path.stat().st_size > _LOADED_BYTES:
            return {
                Path(member.filename).stem: _mapped(path, archive, member) for member in members
            }
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _mapped(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
        shape, fortran, dtype = read(file)
        header = file.tell()
    with open(path, "rb") as raw:
        raw.seek(
            member.header_offset + 26
        )  # The lengths of name and extra field, in its own header.
        name, extra = np.frombuffer(raw.read(4), "<u2").tolist()
    start = member.header_offset + 30 + name + extra + header
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
