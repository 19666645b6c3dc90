"""What is in a folder of pictures? A folder for each class, whose name is the label.

`images:DIR` reads DIR/CLASS/*.png, or DIR/train/CLASS/*.png and DIR/test/CLASS/*.png: in the order of
their names, whatever order the disk lists them in. Columns: image, label.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from trainer.config.fields import option
from trainer.data.address import Address
from trainer.data.sources import files, pictures
from trainer.data.table import Opened, Values

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_PER_PIECE = 256


@dataclasses.dataclass(frozen=True)
class Options:
    """What is done to each picture."""

    size: str = option("", "HEIGHTxWIDTH to resize them to; empty: they have one size")
    color: str = option(
        "auto", "rgb, grey, or auto: like the first", choices=("auto", "rgb", "grey")
    )


@dataclasses.dataclass(frozen=True)
class _Images:
    """`shape`: of each picture."""

    address: Address
    paths: tuple[Path, ...]
    labels: tuple[str, ...]
    size: tuple[int, int] | None
    is_grey: bool
    shape: tuple[int, ...]
    names: tuple[str, ...] = ("image", "label")

    @property
    def num_pieces(self) -> int:
        return -(-len(self.paths) // _PER_PIECE)

    def read(self, piece: int, names: Sequence[str]) -> Mapping[str, Values]:
        rows = slice(piece * _PER_PIECE, (piece + 1) * _PER_PIECE)
        found: dict[str, Values] = {"label": np.array(self.labels[rows], np.str_)}
        if "image" in names:
            found["image"] = np.stack([self._pixels(path) for path in self.paths[rows]])
        return {name: found[name] for name in names}

    def _pixels(self, path: Path) -> np.ndarray:
        with files.reported(self.address, path):
            pixels = pictures.decode(path, self.is_grey, self.size)
        pictures.check_alike(str(self.address), self.shape, path.name, pixels.shape)
        return pixels


def open_source(address: Address) -> Opened:
    if len(address.items) != 1 or not files.absolute(address.items[0]).is_dir():
        raise address.error("must name a folder", f"{', '.join(address.items)}, which is none")
    top = files.absolute(address.items[0])
    parts = [top / name for name in ("train", "test")]
    splits = {part.name: part for part in parts} if all(map(Path.is_dir, parts)) else {"all": top}
    found = {split: _labelled(address, folder) for split, folder in splits.items()}
    first = next(path for rows in found.values() for path, _ in rows)
    size = _size(address)
    with files.reported(address, first):
        color = address.options.color
        is_grey = pictures.is_grey(first) if color == "auto" else color == "grey"
        shape = pictures.decode(first, is_grey, size).shape
    tables = {
        split: _Images(
            address,
            tuple(path for path, _ in rows),
            tuple(label for _, label in rows),
            size,
            is_grey,
            shape,
        )
        for split, rows in found.items()
    }
    classes = sorted({label for rows in found.values() for _, label in rows})
    return Opened(
        tables, tuple(path for rows in found.values() for path, _ in rows), tuple(classes)
    )


def _labelled(address: Address, top: Path) -> list[tuple[Path, str]]:
    """Each picture with its class, in order."""
    classes = sorted(path.name for path in top.iterdir() if path.is_dir() and path.name[0] != ".")
    found = []
    for name in classes:
        paths = files.in_order(
            [
                Path(folder, file)
                for folder, _, inside in os.walk(top / name)
                for file in inside
                if file.lower().endswith(_ENDINGS) and not file.startswith(".")
            ]
        )
        if not paths:
            raise address.error(
                "must have pictures in the folder of each class", f"{top / name} without"
            )
        found += [(path, name) for path in paths]
    if not found:
        raise address.error(
            "must be a folder with a folder of pictures for each class", f"{top} without"
        )
    return found


def _size(address: Address) -> tuple[int, int] | None:
    if not address.options.size:
        return None
    parts = address.options.size.split("x")
    if len(parts) != 2 or not all(part.isdecimal() and 0 < int(part) < 100_000 for part in parts):
        raise address.error("must give size=HEIGHTxWIDTH", address.options.size, "write size=28x28")
    return int(parts[0]), int(parts[1])
