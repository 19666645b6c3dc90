"""What is in a Parquet file? Columns of numbers, text, or lists, in groups of rows.

`parquet:FILE` or `parquet:TRAIN,TEST`; each may be a pattern, as in `parquet:part-*.parquet`. A group of
rows is read as a whole.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.data.address import Address
from trainer.data.sources import files
from trainer.data.table import Opened, Values


@dataclasses.dataclass(frozen=True)
class _Parquet:
    address: Address
    names: tuple[str, ...]
    pieces: tuple[tuple[Path, int], ...]  # A file, and its group of rows.

    @property
    def num_pieces(self) -> int:
        return len(self.pieces)

    def read(self, piece: int, names: Sequence[str]) -> Mapping[str, Values]:
        import pyarrow.parquet

        from trainer.data.sources import arrow

        path, group = self.pieces[piece]
        with files.reported(self.address, path):
            # Checksums are verified where the file has them; most writers leave them out.
            with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read_row_group(group, list(names), use_threads=False)
            return {name: arrow.values(str(self.address), name, table[name]) for name in names}


def open_source(address: Address) -> Opened:
    return files.opened(address, "*.parquet", _table)


def _table(address: Address, paths: Sequence[Path]) -> _Parquet:
    import pyarrow.parquet

    names: tuple[str, ...] = ()
    pieces = []
    for path in paths:
        with files.reported(address, path), pyarrow.parquet.ParquetFile(path) as file:
            found = tuple(file.schema_arrow.names)
            pieces += [(path, group) for group in range(file.num_row_groups)]
        if names and {*found} != {*names}:
            raise address.error(
                "must have the same columns in each file", f"{path} with other ones"
            )
        names = names or found
    return _Parquet(address, names, tuple(pieces))
