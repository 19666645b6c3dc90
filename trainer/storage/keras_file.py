"""Which weights does a .keras or .weights.h5 file hold? `layers` reads them layer by layer.

Nothing in the file is executed: of a .keras file only the weights are read, not the description of the
model. Such a file numbers a layer's weights and does not name them.
"""

import io
import pathlib
import zipfile

import numpy as np

# The weights of each layer by its name, in the order in which the layer has them. "" has those of layers
# whose name the file does not have, or has twice.
Layers = dict[str, list[np.ndarray]]

_WEIGHTS = "model.weights.h5"


def layers(path: pathlib.Path, content: bytes) -> Layers:
    """The layers of a file with this content.

    Raises:
      OSError, ValueError: it is of another kind, or damaged.
    """
    if path.name.endswith(".keras"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if _WEIGHTS not in archive.namelist():
                raise ValueError(f"it has no {_WEIGHTS}")
            content = archive.read(_WEIGHTS)
    elif not path.name.endswith(".weights.h5"):
        raise ValueError("its name ends neither in .keras nor in .weights.h5")
    return _layers(content)


def _layers(content: bytes) -> Layers:
    import h5py

    found: list[tuple[str, list[np.ndarray]]] = []
    with h5py.File(io.BytesIO(content), "r") as file:

        def visit(name: str, item: object) -> None:  # It follows no link to another file.
            *above, last = name.split("/")
            if isinstance(item, h5py.Group) and last == "vars" and len(item) and _is_layer(above):
                found.append((str(item.attrs.get("name", "")), _numbered(item)))

        file.visititems(visit)
    names = [name for name, _ in found]
    unique = {name: arrays for name, arrays in found if names.count(name) == 1 and name}
    others = [array for name, arrays in found if name not in unique for array in arrays]
    return unique | ({"": others} if others else {})


def _is_layer(path: list[str]) -> bool:
    """Whether a group is of a layer, and not of an optimizer or of a layer's random numbers."""
    return not (path[:1] == ["optimizer"] or path[-1:] and path[-1].startswith("seed_generator"))


def _numbered(group) -> list[np.ndarray]:
    """The arrays 0, 1, ... of a layer."""
    arrays = []
    for key in sorted(group, key=lambda key: (len(key), key)):
        stored = group[key]
        if not hasattr(stored, "dtype") or stored.external or stored.dtype.hasobject:
            raise ValueError(f"{stored.name} holds no plain numbers")
        arrays.append(np.asarray(stored[()]))
    return arrays
