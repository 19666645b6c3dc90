"""What is in a record that is a `tf.train.Example`?

Numbers, text and pictures by name, which `Decoder` reads without TensorFlow. A single number is a column
of numbers; several are a list. Bytes are a picture, text, or the raw numbers of an array.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from trainer.config.fields import option
from trainer.data.address import Address
from trainer.data.sources import files, pictures
from trainer.data.table import Values

_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM")


@dataclasses.dataclass(frozen=True)
class Options:
    """What an Example does not say of its values."""

    shapes: str = option(
        "",
        "shapes of lists, and types of raw bytes: NAME:28x28 or NAME:28x28:uint8, separated by +",
    )


@dataclasses.dataclass(frozen=True)
class Decoder:
    """Reads Examples. `singles`: the columns that have one number in each row."""

    address: Address
    names: tuple[str, ...]
    singles: tuple[str, ...]

    def columns(self, records: Sequence[bytes], names: Sequence[str]) -> dict[str, Values]:
        """The values of some records. Raises ValueError where one has no such form."""
        rows = [_parse(record) for record in records]
        return {
            name: self._column(name, [self._value(name, row) for row in rows]) for name in names
        }

    def _value(self, name: str, row: Mapping[str, Any]) -> Any:
        if name not in row:
            raise ValueError(f"a record has no {name}, but {', '.join(sorted(row))}")
        feature = row[name]
        kind = feature.WhichOneof("kind")
        if kind == "float_list":
            return np.array(feature.float_list.value, np.float32)
        if kind == "int64_list":
            return np.array(feature.int64_list.value, np.int64)
        values = feature.bytes_list.value
        if len(values) != 1:
            raise ValueError(f"{name} must have one text or picture, not {len(values)}")
        return values[0]

    def _column(self, name: str, found: list[Any]) -> Values:
        shape, dtype = self._shapes.get(name, ((), None))
        if found and isinstance(found[0], bytes):
            if dtype is not None:
                return np.stack([np.frombuffer(value, dtype).reshape(shape) for value in found])
            if found[0].startswith(_PICTURES):
                return [pictures.decode(value) for value in found]
            return np.array([value.decode() for value in found], np.str_)
        if shape:
            return np.stack([value.reshape(shape) for value in found])
        if name in self.singles:
            if wrong := [value for value in found if len(value) != 1]:
                raise ValueError(
                    f"{name} must be one number, not {len(wrong[0])}, as in the first record"
                )
            return np.concatenate(found) if found else np.zeros(0)
        return found

    @functools.cached_property
    def _shapes(self) -> dict[str, tuple[tuple[int, ...], np.dtype | None]]:
        found = {}
        for one in filter(None, self.address.options.shapes.split("+")):
            name, *rest = one.split(":")
            try:
                shape = tuple(int(size) for size in rest[0].split("x"))
                found[name] = shape, np.dtype(rest[1]) if len(rest) > 1 else None
            except (ValueError, TypeError, IndexError):
                raise self.address.error("must give shapes=NAME:28x28:uint8", one) from None
        return found


@dataclasses.dataclass(frozen=True)
class Records:
    """A table of Examples in files. A piece is a file, and from where to where in it.

    `read_piece` returns the records of one, and may raise what `files.reported` reports.
    """

    decoder: Decoder
    pieces: tuple[tuple[Path, int, int], ...]
    read_piece: Callable[[Path, int, int], Sequence[bytes]]

    @property
    def names(self) -> tuple[str, ...]:
        return self.decoder.names

    @property
    def num_pieces(self) -> int:
        return len(self.pieces)

    def read(self, piece: int, names: Sequence[str]) -> Mapping[str, Values]:
        path, start, stop = self.pieces[piece]
        with files.reported(self.decoder.address, path):
            return self.decoder.columns(self.read_piece(path, start, stop), names)


def decoder(address: Address, first: bytes) -> Decoder:
    """The decoder of records like the first one. Raises ValueError where it is not an Example."""
    row = _parse(first)
    if not row:
        raise ValueError("its records are not Examples with features")
    lists = {name: feature for name, feature in row.items() if not feature.HasField("bytes_list")}
    target = [name.strip() for name in address.config.target.split(",")]
    is_padded = bool(address.config.pad_to)
    singles = [
        name
        for name, feature in lists.items()
        if len(feature.float_list.value) + len(feature.int64_list.value) == 1
        and (not is_padded or name in target or name in ("label", "y", "target"))
    ]
    return Decoder(address, tuple(sorted(row)), tuple(singles))


def _parse(record: bytes) -> dict[str, Any]:
    example = _example_class().FromString(record)
    return dict(example.features.feature)


@functools.cache
def _example_class() -> Any:
    """The class of tf.train.Example, made of the fields that its specification gives."""
    file = descriptor_pb2.FileDescriptorProto(
        name="example.proto", package="muster", syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, kind in (
        ("Bytes", kinds.TYPE_BYTES),
        ("Float", kinds.TYPE_FLOAT),
        ("Int64", kinds.TYPE_INT64),
    ):
        values = file.message_type.add(name=f"{name}List")
        values.field.add(name="value", number=1, type=kind, label=kinds.LABEL_REPEATED)
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("Bytes", "Float", "Int64"), 1):
        feature.field.add(
            name=f"{name.lower()}_list", number=number, type=kinds.TYPE_MESSAGE, oneof_index=0,
            label=kinds.LABEL_OPTIONAL, type_name=f".muster.{name}List",
        )  # fmt: skip
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    entry.field.add(
        name="value", number=2, type=kinds.TYPE_MESSAGE, label=kinds.LABEL_OPTIONAL,
        type_name=".muster.Feature",
    )  # fmt: skip
    features.field.add(
        name="feature", number=1, type=kinds.TYPE_MESSAGE, label=kinds.LABEL_REPEATED,
        type_name=".muster.Features.FeatureEntry",
    )  # fmt: skip
    example = file.message_type.add(name="Example")
    example.field.add(
        name="features", number=1, type=kinds.TYPE_MESSAGE, label=kinds.LABEL_OPTIONAL,
        type_name=".muster.Features",
    )  # fmt: skip
    pool = descriptor_pool.DescriptorPool()  # Not TensorFlow's, which has an Example of its own.
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("muster.Example"))
