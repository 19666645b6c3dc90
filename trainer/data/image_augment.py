"""How does `data.augment` change training images?

`ImageAugmentation` changes whole batches at once with NumPy, a loop ahead of the step that needs them.
The random numbers of an image follow from the seed, the image's index, and how often the run has visited
it before: so the result is the same on any cluster, and in a run that resumes.

- `mixup` mixes each image with another of the training examples. Zhang et al. ("mixup: Beyond Empirical
  Risk Minimization", 2018) mix the labels too, in a ratio drawn from Beta(a, a). As a cross-entropy is
  linear in the label, the expected loss is the same if the image keeps its label, and the ratio is drawn
  from Beta(a + 1, a): so targets keep their type.
- `crop`, `rotate`, `flip` and `shift` say where each pixel is taken from. Where it is between four, these
  are interpolated; outside of the image is 0. Without `crop` and `rotate`, pixels are only moved.
- `cutout` sets a square to 0, whose centre is anywhere in the image (DeVries and Taylor, 2017).
"""

import concurrent.futures
import math
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from trainer.config import balance_rules
from trainer.data.dataset import DataError, Split
from trainer.data.rows import gather
from trainer.order import random_numbers

_CHUNK = 64  # Images that are changed at once: their arrays fit in the processor's cache.
_STREAM = 0x61756769  # Added to the seed, so that no image's numbers are those of the order.
_RATIOS = 4096  # Of mixup, evenly spaced in probability.


class _Numbers(NamedTuple):
    """What is drawn for each image: arrays [n] of numbers in [0, 1)."""

    angle: np.ndarray
    side: np.ndarray
    crop_down: np.ndarray
    crop_right: np.ndarray
    flip: np.ndarray
    shift_down: np.ndarray
    shift_right: np.ndarray
    cut_down: np.ndarray
    cut_right: np.ndarray
    partner: np.ndarray
    ratio: np.ndarray


class ImageAugmentation:
    """The changes of `data.augment` for images [n, height, width] or [n, height, width, channels].

    Raises DataError where the features are no such array, or a change does not fit their size.
    """

    def __init__(self, changes: str, split: Split, seed: int):
        self._changes = balance_rules.augmentations(changes)
        self._images = _images(split.features)
        self._seed = seed + _STREAM
        self._height, self._width = self._images.shape[1:3]
        for name in ("shift", "cutout"):
            if self._changes.get(name, 0) >= (smaller := min(self._height, self._width)):
                raise DataError(
                    f"`data.augment` must have less than {smaller} for {name}, as images are "
                    f"{self._height} x {self._width}. Received: {self._changes[name]:g}; lower it."
                )
        self._threads = len(os.sched_getaffinity(0))
        self._ratios = _ratios(self._changes["mixup"]) if "mixup" in self._changes else None

    @property
    def description(self) -> str:
        shown = ", ".join(f"{name} {amount:g}" for name, amount in self._changes.items())
        return (
            f"training images are changed by {shown}: {self._threads} threads prepare them ahead of the "
            "steps, and they are sent to the devices with each loop"
        )

    def check(self) -> float:
        """The seconds that an image takes in one thread, measured."""
        indices = np.arange(min(_CHUNK, len(self._images)))
        images = gather(self._images, indices)
        began = time.perf_counter()
        self._changed(images, indices, np.zeros_like(indices))
        return (time.perf_counter() - began) / len(indices)

    def __call__(
        self, arrays: tuple[np.ndarray, ...], indices: np.ndarray, visits: np.ndarray
    ) -> None:
        """Changes images in place.

        Args:
          arrays: first the images [..., height, width], then other columns.
          indices, visits: int [...], which images these are, and how often the run had them before.
        """
        images = arrays[0].reshape(-1, *self._images.shape[1:])
        assert np.shares_memory(images, arrays[0])
        flat = indices.ravel(), visits.ravel()

        def change(start: int) -> None:
            own = slice(start, start + _CHUNK)
            images[own] = self._changed(images[own], flat[0][own], flat[1][own])

        with concurrent.futures.ThreadPoolExecutor(self._threads, "augment") as pool:
            for _ in pool.map(change, range(0, len(images), _CHUNK)):
                pass

    def _changed(self, images: np.ndarray, indices: np.ndarray, visits: np.ndarray) -> np.ndarray:
        numbers = _Numbers(
            *random_numbers.uniform(self._seed, visits, indices, len(_Numbers._fields))
        )
        if "mixup" in self._changes:
            images = self._mixed(images, numbers)
        if self._changes.keys() & {"crop", "rotate"}:
            images = self._interpolated(images, numbers)
        elif self._changes.keys() & {"flip", "shift"}:
            images = self._moved(images, numbers)
        if "cutout" in self._changes:
            images = self._cut(images, numbers)
        return images

    def _mixed(self, images: np.ndarray, numbers: _Numbers) -> np.ndarray:
        chosen = (numbers.partner * len(self._images)).astype(np.int64)
        partners = gather(self._images, chosen)
        assert self._ratios is not None
        ratios = self._ratios[(numbers.ratio * _RATIOS).astype(np.int64)]
        found = partners.astype(np.float32)
        found += (images - found) * _beside(ratios, images)
        return _as(found, images.dtype)

    def _is_flipped(self, numbers: _Numbers) -> np.ndarray:
        return numbers.flip < self._changes.get("flip", 0.0)

    def _shifts(self, numbers: _Numbers) -> Iterator[np.ndarray]:
        """int [n]: by how many pixels each image moves down, and to the right."""
        most = int(self._changes.get("shift", 0))
        for number in (numbers.shift_down, numbers.shift_right):
            yield (number * (2 * most + 1)).astype(np.int64) - most

    def _moved(self, images: np.ndarray, numbers: _Numbers) -> np.ndarray:
        """Only by whole pixels, so none is interpolated."""
        is_flipped = self._is_flipped(numbers)
        found = images.copy()
        found[is_flipped] = images[is_flipped][:, :, ::-1]
        most = int(self._changes.get("shift", 0))
        if not most:
            return found
        edges = [(0, 0), (most, most), (most, most), *[(0, 0)] * (images.ndim - 3)]
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(found, edges), (self._height, self._width), axis=(1, 2)
        )
        down, right = self._shifts(numbers)
        found = windows[np.arange(len(images)), most - down, most - right]
        return np.moveaxis(found, 1, -1) if images.ndim > 3 else found

    def _interpolated(self, images: np.ndarray, numbers: _Numbers) -> np.ndarray:
        """Each pixel from where the affine map of its image says: crop, then rotate, flip and shift."""
        angle = math.radians(self._changes.get("rotate", 0.0)) * (2 * numbers.angle - 1)
        least = self._changes.get("crop", 1.0)
        side = least + (1 - least) * numbers.side
        flip = np.where(self._is_flipped(numbers), -1.0, 1.0)
        down, right = self._shifts(numbers)
        centre = (self._height - 1) / 2, (self._width - 1) / 2
        # The centre of the crop, from that of the image.
        crop_down = (1 - side) * (2 * numbers.crop_down - 1) * centre[0]
        crop_right = (1 - side) * (2 * numbers.crop_right - 1) * centre[1]
        rows = np.arange(self._height) - centre[0] - down[:, np.newaxis]
        columns = (np.arange(self._width) - centre[1] - right[:, np.newaxis]) * flip[:, np.newaxis]
        cos, sin = (side * np.cos(angle))[:, np.newaxis], (side * np.sin(angle))[:, np.newaxis]
        # In an image with an edge of one pixel that is 0.
        row = _sum(cos * rows + (crop_down + centre[0] + 1)[:, np.newaxis], -sin * columns)
        column = _sum(sin * rows + (crop_right + centre[1] + 1)[:, np.newaxis], cos * columns)
        places, down_part, right_part = self._places(row, column)
        edges = [(0, 0), (1, 1), (1, 1), *[(0, 0)] * (images.ndim - 3)]
        edged = np.pad(images, edges)
        if images.ndim == 3:
            return _as(_blend(edged, places, down_part, right_part), images.dtype)
        channels = (edged[..., channel] for channel in range(images.shape[3]))
        found = [_blend(one, places, down_part, right_part) for one in channels]
        return _as(np.stack(found, axis=-1), images.dtype)

    def _places(
        self, row: np.ndarray, column: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the pixel up and left of each place is in the flat array, and the parts beyond it."""
        # Below the last row, as its successor is read, too.
        np.clip(row, 0, np.float32(self._height + 0.999), out=row)
        np.clip(column, 0, np.float32(self._width + 0.999), out=column)
        places, left = row.astype(np.int32), column.astype(np.int32)
        row -= places
        column -= left
        places *= self._width + 2
        places += left
        size = (self._height + 2) * (self._width + 2)
        places += (np.arange(len(row), dtype=np.int32) * size)[:, np.newaxis, np.newaxis]
        return places, row, column

    def _cut(self, images: np.ndarray, numbers: _Numbers) -> np.ndarray:
        side = int(self._changes["cutout"])
        found = images.copy()
        is_cut = [
            _within(np.floor(number * length) - side // 2, side, length)
            for number, length in (
                (numbers.cut_down, self._height),
                (numbers.cut_right, self._width),
            )
        ]
        found[is_cut[0][:, :, np.newaxis] & is_cut[1][:, np.newaxis, :]] = 0
        return found


def _images(features: Any) -> np.ndarray:
    if isinstance(features, dict):
        kind = "columns by name"
    elif features.ndim in (3, 4) and features.dtype.kind in "uf":
        return features
    else:
        kind = f"{features.dtype} {list(features.shape[1:])}"
    raise DataError(
        "`data.augment` must be empty unless the features are images, arrays [height, width] or [height, "
        f"width, channels] of bytes or floats. Received: {kind}; leave it out, or define `augment` in a "
        "recipe."
    )


def _ratios(alpha: float) -> np.ndarray:
    """Quantiles of Beta(alpha + 1, alpha), evenly spaced in probability."""
    from scipy import special  # Its import takes a third of a second.

    return special.betaincinv(alpha + 1, alpha, (np.arange(_RATIOS) + 0.5) / _RATIOS).astype(
        np.float32
    )


def _beside(numbers: np.ndarray, images: np.ndarray) -> np.ndarray:
    return numbers.reshape(-1, *[1] * (images.ndim - 1))


def _within(first: np.ndarray, count: int, length: int) -> np.ndarray:
    """bool [n, length]: the `count` places from `first` on."""
    places = np.arange(length) - first[:, np.newaxis]
    return (places >= 0) & (places < count)


def _sum(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """float32 [n, rows, columns]."""
    rows, columns = rows.astype(np.float32), columns.astype(np.float32)
    return rows[:, :, np.newaxis] + columns[:, np.newaxis, :]


def _blend(
    edged: np.ndarray, places: np.ndarray, down: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """float32: what is between the four pixels from `places` on, by the parts of the way."""
    flat, width = np.ascontiguousarray(edged).reshape(-1), edged.shape[2]
    upper, lower = (flat.take(places + start).astype(np.float32) for start in (0, width))
    upper += right * (flat.take(places + 1) - upper)
    lower += right * (flat.take(places + width + 1) - lower)
    upper += down * (lower - upper)
    return upper


def _as(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.rint(values).astype(dtype) if dtype.kind == "u" else values.astype(dtype)
