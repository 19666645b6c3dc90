"""How are the workers of a cluster arranged where each holds a part of the model?

In a mesh: `data` groups, of which each has its share of every batch, with `model` workers in each, of
which each holds a part of the cut layers. Worker r is part r % model of group r // model.
"""

import dataclasses
from typing import Any, NamedTuple

from strategies.errors import ClusterError

_AXES = ("data", "model")


class ModelPart(NamedTuple):
    """Which part of a model's cut layers a task holds: `place`, from 0, of `number` equal ones."""

    place: int = 0
    number: int = 1

    @property
    def is_whole(self) -> bool:
        return self.number == 1

    def of(self, array: Any, axis: int | None) -> Any:
        """This part of an array that is cut along `axis`; None: all of it."""
        if axis is None:
            return array
        size = array.shape[axis] // self.number
        where = (slice(None),) * axis + (slice(self.place * size, (self.place + 1) * size),)
        return array[where].copy()

    def shape(self, whole: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
        """The shape of this part of an array of shape `whole`."""
        return tuple(
            size // self.number if position == axis else size for position, size in enumerate(whole)
        )

    def whole(self, shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
        """The shape of the array of which a part has this shape."""
        return tuple(
            size * self.number if position == axis else size for position, size in enumerate(shape)
        )


@dataclasses.dataclass(frozen=True)
class MeshShape:
    """The numbers of data groups and of parts of the model."""

    data: int
    model: int

    def __str__(self) -> str:
        return f"data:{self.data},model:{self.model}"

    def part(self, rank: int) -> ModelPart:
        return ModelPart(rank % self.model, self.model)

    def group(self, rank: int) -> int:
        """The data group of a worker."""
        return rank // self.model

    def model_peers(self, rank: int) -> list[int]:
        """The ranks of a worker's data group, by their parts; its own is among them."""
        first = rank - rank % self.model
        return [*range(first, first + self.model)]

    def data_peers(self, rank: int) -> list[int]:
        """The ranks of the workers with the same part, by their groups; its own is among them."""
        return [*range(rank % self.model, self.data * self.model, self.model)]


def parse(text: str, workers: int) -> MeshShape:
    """The mesh that the flag `--mesh` describes, on this number of workers; one computes all of it.

    `data` may be left out: it follows from the number of workers.

    Raises ClusterError.
    """
    sizes = dict(_axis(one, text) for one in text.split(","))
    if "model" not in sizes or len(sizes) != len(text.split(",")):
        raise _malformed(text)
    model = sizes["model"]
    data = sizes.get("data", max(1, workers // model))
    if workers > 1 and data * model != workers:
        raise ClusterError(
            f"`--mesh` must have a place for each of the {workers} workers. Received: {text!r}, which "
            f"has {data * model}; start {data * model} workers, or change it."
        )
    return MeshShape(data, model)


def _axis(one: str, text: str) -> tuple[str, int]:
    name, _, size = one.partition(":")
    if name.strip() not in _AXES or not (
        size.isascii() and size.isdecimal() and 0 < int(size) < 1e4
    ):
        raise _malformed(text)
    return name.strip(), int(size)


def _malformed(text: str) -> ClusterError:
    return ClusterError(
        "`--mesh` must be model:M or data:D,model:M, with a number of parts of the model and of groups "
        f"that share each batch. Received: {text!r}; try model:2."
    )
