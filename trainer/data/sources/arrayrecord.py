"""What is in an ArrayRecord file? Records that are `tf.train.Example`s, which can be read in any order.

`arrayrecord:FILE` or `arrayrecord:TRAIN,TEST`; each may be a pattern, as in
`arrayrecord:train-*.array_record`.
"""

from collections.abc import Sequence
from pathlib import Path

from array_record.python import array_record_module

from trainer.data.address import Address
from trainer.data.sources import example, files
from trainer.data.sources.example import Records
from trainer.data.table import PIECE_BYTES, Opened

Options = example.Options


def open_source(address: Address) -> Opened:
    return files.opened(address, "*.array_record*", _table)


def _table(address: Address, paths: Sequence[Path]) -> Records:
    pieces: list[tuple[Path, int, int]] = []
    for path in paths:
        with files.reported(address, path):
            reader = array_record_module.ArrayRecordReader(str(path))
            rows = reader.num_records()
            reader.close()
        step = max(1, rows * PIECE_BYTES // max(path.stat().st_size, 1))
        pieces += [(path, start, min(start + step, rows)) for start in range(0, rows, step)]
    if not pieces:
        raise address.error("must have records", f"{paths[0]} without any")
    path = pieces[0][0]
    with files.reported(address, path):
        return Records(example.decoder(address, _read(path, 0, 1)[0]), tuple(pieces), _read)


def _read(path: Path, start: int, stop: int) -> list[bytes]:
    reader = array_record_module.ArrayRecordReader(str(path))
    try:
        return reader.read(start, stop)
    finally:
        reader.close()
