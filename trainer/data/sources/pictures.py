"""How does the file of a picture become an array?

`decode` gives uint8 [height, width] for a grey one and [height, width, 3] for one in color.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from trainer.data.dataset import DataError

_GREY = ("1", "L", "LA", "I", "I;16", "F")


def decode(
    content: bytes | Path, is_grey: bool | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """The pixels of a PNG, a JPEG, or another kind that Pillow knows.

    Args:
      content: the file, or its bytes.
      is_grey: whether to make it grey or colored; None: as it is.
      size: (height, width) to resize it to.

    Raises OSError or ValueError where it is damaged.
    """
    with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
        return _pixels(image, is_grey, size)


def _pixels(image: Image.Image, is_grey: bool | None, size: tuple[int, int] | None) -> np.ndarray:
    if is_grey is None:
        is_grey = image.mode in _GREY
    if image.mode.startswith("I;16"):  # To 8 bits, which `convert` would clip.
        image = image.point(lambda value: value / 256)
    image = image.convert("L" if is_grey else "RGB")
    if size and image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image)


def is_grey(path: Path) -> bool:
    with Image.open(path) as image:
        return image.mode in _GREY or image.mode.startswith("I;16")


def check_alike(where: str, first: tuple[int, ...], name: str, found: tuple[int, ...]) -> None:
    """Raises DataError where a picture has another size than the first."""
    if found != first:
        shown = " and ".join("x".join(map(str, shape)) for shape in (first, found))
        raise DataError(
            f"{where} must have pictures of one size. Received: {shown} ({name}); resize them by adding "
            f"`,size={first[0]}x{first[1]}` to `data.source`."
        )
