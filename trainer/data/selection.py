"""Which columns of a source are the features, which is the target, and which weighs the examples?

`choose` decides it from the config and a few rows; `Selection.apply` makes them of each piece. Numbers
are made float32 or at most 32-bit integers, and rows of unequal lengths are padded to `data.pad_to`.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from trainer.data.dataset import Columns, DataConfig, DataError
from trainer.data.table import Values, unknown_column

FEATURES, TARGET, WEIGHTS = "features", "target", "weights"
_TARGETS = ("y", "label", "labels", "target", "targets", "class", "classes")
_IGNORED = ("id", "index")  # Of rows, in tables that have them: no model should learn from those.
_INT32 = np.iinfo(np.int32)


def part_of(made: Mapping[str, np.ndarray], part: str) -> Columns:
    """The array of a part of examples, such as FEATURES, or its arrays by name, from "part/name"."""
    if part in made:
        return made[part]
    begin = f"{part}/"
    return {name.removeprefix(begin): made[name] for name in made if name.startswith(begin)}


@dataclasses.dataclass(frozen=True)
class Selection:
    """The columns that a run reads, and how they are laid out.

    `layout`: "array", one column as it is; "matrix", numbers side by side, float32 [n, k]; "columns",
    arrays by name.
    """

    where: str  # The source, for messages.
    features: tuple[str, ...]
    target: tuple[str, ...]
    layout: str
    pad_to: int
    weights: tuple[str, ...] = ()  # The column of the examples' weights, or none.

    @property
    def names(self) -> tuple[str, ...]:
        """The columns of the source that are read."""
        return tuple(dict.fromkeys((*self.features, *self.target, *self.weights)))

    @property
    def made(self) -> tuple[str, ...]:
        """The columns that are made of them; those by name are "features/NAME"."""
        weights = (WEIGHTS,) if self.weights else ()
        if self.layout == "columns":
            return (*(f"{FEATURES}/{name}" for name in self.features), TARGET, *weights)
        return FEATURES, TARGET, *weights

    @property
    def unchanged(self) -> dict[str, str]:
        """The columns that are one of the source's each, by the names they are made under."""
        sources = [name for name in self.features if self.layout != "matrix"]
        made = dict(zip(self.made, sources, strict=False)) if sources else {}
        if self.weights:
            made[WEIGHTS] = self.weights[0]
        return made | ({TARGET: self.target[0]} if len(self.target) == 1 else {})

    def apply(self, rows: Mapping[str, Values]) -> dict[str, np.ndarray]:
        """The columns that are made of some rows. Raises DataError where they are not alike."""
        read = {name: self._array(name, rows[name]) for name in self.names}
        features = [read[name] for name in self.features]
        if self.layout == "matrix":
            features = [self._side_by_side("data.features", self.features, features)]
        target = [read[name] for name in self.target]
        if len(target) > 1:
            target = [self._side_by_side("data.target", self.target, target)]
        elif target[0].dtype.kind == "b":
            target = [target[0].astype(np.int32)]
        weights = [read[name] for name in self.weights]
        return dict(zip(self.made, [*features, *target, *weights], strict=True))

    def _array(self, name: str, values: Values) -> np.ndarray:
        array = self._padded(name, values) if isinstance(values, list) else values
        if array.dtype.kind not in "fiubSU":
            raise DataError(
                f"column {name} of {self.where} must be numbers or text. Received: {array.dtype}; "
                "convert it, or leave it out of `data.features`."
            )
        if array.dtype.kind in "iu" and array.dtype not in (np.int32, *_SMALL):
            return self._as_int32(name, array)
        if array.dtype.kind == "f" and array.dtype != np.float32:
            with np.errstate(over="ignore", invalid="ignore"):
                return array.astype(
                    np.float32
                )  # What is too large becomes infinite, and is reported.
        return array

    def _padded(self, name: str, rows: list[np.ndarray]) -> np.ndarray:
        longest = max((len(row) if row.ndim else 0) for row in rows)
        if not self.pad_to:
            if len({row.shape for row in rows}) > 1:
                shortest = min((len(row) if row.ndim else 0) for row in rows)
                raise DataError(
                    f"column {name} of {self.where} must have rows of one shape. Received: rows of "
                    f"{shortest} to {longest} values; pad them with --config.data.pad_to={longest}."
                )
            return np.stack(rows)
        if longest > self.pad_to:
            raise DataError(
                f"`data.pad_to` must not be below the longest row. Received: {self.pad_to} for "
                f"{longest} values in column {name} of {self.where}; raise it to {longest}."
            )
        rest = {row.shape[1:] for row in rows if len(row)} or {()}
        if len(rest) > 1:
            raise DataError(
                f"column {name} of {self.where} must have rows of one shape but for their length. "
                f"Received: {', '.join(map(str, sorted(rest)))}; make them alike."
            )
        dtype = np.result_type(*{row.dtype for row in rows if row.size} or {np.dtype(np.int32)})
        padded = np.zeros((len(rows), self.pad_to, *rest.pop()), dtype)
        for place, row in enumerate(rows):
            padded[place, : len(row)] = row
        return padded

    def _as_int32(self, name: str, array: np.ndarray) -> np.ndarray:
        if array.size and (array.min() < _INT32.min or array.max() > _INT32.max):
            raise DataError(
                f"column {name} of {self.where} must be whole numbers of 32 bits. Received: "
                f"{array.min()} to {array.max()}; store it as floats, or leave it out of "
                "`data.features`."
            )
        return array.astype(np.int32)

    def _side_by_side(
        self, field: str, names: Sequence[str], arrays: Sequence[np.ndarray]
    ) -> np.ndarray:
        for name, array in zip(names, arrays, strict=True):
            if array.ndim != 1 or array.dtype.kind not in "fiub":
                kind = "text" if array.dtype.kind in "SU" else f"arrays {list(array.shape[1:])}"
                raise DataError(
                    f"`{field}` must name columns of single numbers to be put side by side. Received: "
                    f"{name} of {self.where}, which has {kind}; leave it out, or give the columns by "
                    "name to a recipe's own model with --config.data.features_as=columns."
                )
        return np.stack([array.astype(np.float32) for array in arrays], axis=1)


_SMALL = tuple(np.dtype(kind) for kind in ("i1", "u1", "i2", "u2"))


def choose(
    where: str, names: Sequence[str], sample: Mapping[str, Values], config: DataConfig
) -> Selection:
    """The selection that the config asks for.

    Args:
      where: the source, for messages.
      names: the columns that it has.
      sample: some of its rows, of at least one example.
      config: names features and target; without names the target is a column that is called so, and the
        features are all others.

    Raises DataError where a column is not there, or no target is named.
    """
    weights = (config.example_weights,) if config.example_weights else ()
    target = _split(config.target) or _target_of(where, names)
    features = _split(config.features) or tuple(
        name for name in names if name not in (*target, *weights) and name.lower() not in _IGNORED
    )
    fields = ("data.features", "data.target", "data.example_weights")
    for field, wanted in zip(fields, (features, target, weights), strict=True):
        for name in wanted:
            if name not in names:
                raise unknown_column(field, where, name, names)
    if not features or {*features} & {*target}:
        both = sorted({*features} & {*target})
        raise DataError(
            f"`data.features` must name columns of {where} other than the target. Received: "
            f"{', '.join(both) or 'none'}; its columns are {', '.join(names)}."
        )
    layout = config.features_as
    if layout == "auto":
        layout = _layout([sample[name] for name in features])
    return Selection(where, features, target, layout, config.pad_to, weights)


def _split(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _target_of(where: str, names: Sequence[str]) -> tuple[str, ...]:
    found = [name for name in names if name.lower() in _TARGETS]
    if len(found) != 1:
        raise DataError(
            f"`data.target` must name the column of {where} to predict. Received: none, and "
            f"{len(found) or 'no'} column{'s are' if len(found) > 1 else ' is'} called "
            f"{' or '.join(found) or 'y, label or target'}; name one of {', '.join([*names][:20])} with "
            "--config.data.target=NAME."
        )
    return (found[0],)


def _layout(columns: Sequence[Values]) -> str:
    singles = [
        not isinstance(column, list) and column.ndim == 1 and column.dtype.kind in "fiub"
        for column in columns
    ]
    if all(singles):
        return "matrix"
    return "array" if len(columns) == 1 else "columns"
