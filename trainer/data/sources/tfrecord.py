"""What is in a TFRecord file? Records that are `tf.train.Example`s, each with a checksum.

`tfrecord:FILE` or `tfrecord:TRAIN,TEST`; each may be a pattern, as in `tfrecord:train-*.tfrecord`. The
checksum of every record is verified. Compressed files are not read.
"""

import mmap
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import google_crc32c

from trainer.data.address import Address
from trainer.data.sources import example, files
from trainer.data.sources.example import Records
from trainer.data.table import PIECE_BYTES, Opened

Options = example.Options

_HEADER, _FOOTER = 12, 4  # Bytes: a length with its checksum, and the checksum of the record.


def open_source(address: Address) -> Opened:
    return files.opened(address, "*.tfrecord*", _table)


def _table(address: Address, paths: Sequence[Path]) -> Records:
    pieces = []
    for path in paths:
        with files.reported(address, path):
            pieces += [(path, start, stop) for start, stop in _pieces(path)]
    if not pieces:
        raise address.error("must have records", f"{paths[0]} without any")
    path, start, stop = pieces[0]
    with files.reported(address, path):
        first = next(_records(_content(path, start, stop)))
        return Records(example.decoder(address, first), tuple(pieces), _read)


def _read(path: Path, start: int, stop: int) -> list[bytes]:
    return [*_records(_content(path, start, stop))]


def _content(path: Path, start: int, stop: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(start)
        return file.read(stop - start)


def _pieces(path: Path) -> Iterator[tuple[int, int]]:
    """(start, stop) of stretches of whole records."""
    size = path.stat().st_size
    if not size:
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:2] == b"\x1f\x8b":
            raise ValueError("it is compressed; decompress it with gunzip")
        begun = place = 0
        while place < size:
            if place + _HEADER > size:
                raise ValueError(f"it ends within the record at byte {place}")
            length, checksum = struct.unpack_from("<QI", content, place)
            if checksum != _masked(content[place : place + 8]):
                raise ValueError(f"the checksum of the record at byte {place} is wrong")
            place += _HEADER + length + _FOOTER
            if place > size:
                raise ValueError("it ends within its last record")
            if place - begun >= PIECE_BYTES or place == size:
                yield begun, place
                begun = place


def _records(content: bytes) -> Iterator[bytes]:
    """Each record, whose checksum is right. Raises ValueError."""
    place = 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        start, stop = place + _HEADER, place + _HEADER + length
        record = content[start:stop]
        if struct.unpack_from("<I", content, stop)[0] != _masked(record):
            raise ValueError(f"the checksum of a record of {length} bytes is wrong")
        yield record
        place = stop + _FOOTER


def _masked(content: bytes) -> int:
    """The checksum as TFRecord stores it: CRC-32C, rotated by 15 bits, plus a constant."""
    found = google_crc32c.value(content)
    return (((found >> 15) | (found << 17)) + 0xA282EAD8) & 0xFFFFFFFF
