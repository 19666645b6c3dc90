"""How is an example changed each time that a run trains on it?

By the changes of images that `data.augment` names (`image_augment.py`), or by a recipe: `Augmentation`
calls its `augment(example, rng)` on the host, a loop ahead of the step that needs the example. `rng`
follows from the seed of the run, the epoch and the example's index, so the result does not depend on who
computes it, or when: it is the same on any cluster, and in a run that resumes.
"""

import concurrent.futures
import os
import time
from typing import Any

import numpy as np

from strategies.errors import InputError
from trainer.config import user_code
from trainer.config.fields import short_json
from trainer.config.recipes import Recipe
from trainer.data.dataset import Columns, DataError, Split
from trainer.data.image_augment import ImageAugmentation
from trainer.order.sample_order import PADDING

_FUNCTION = "augment"
_TRIED = 8  # Examples that it is tried on before the first step.
_SHARES = 4  # Of the work of a loop, per thread: shares may take different times.


def of(
    recipe: Recipe | None, split: Split, seed: int, changes: str = ""
) -> "Augmentation | ImageAugmentation | None":
    """How the training examples are augmented; None where they are not.

    `changes`: the config's. Raises DataError where they do not fit the examples or the recipe.
    """
    has_own = recipe is not None and recipe.defines(_FUNCTION)
    if changes and has_own:
        raise DataError(
            f"`data.augment` must be empty for a recipe that defines `{_FUNCTION}`. Received: "
            f"{short_json(changes)}; leave out one of the two."
        )
    if changes:
        return ImageAugmentation(changes, split, seed)
    return Augmentation(recipe, split, seed) if recipe and has_own else None


class Augmentation:
    """A recipe's `augment` for the examples of a split.

    The random generator for an example is `numpy.random.Generator(numpy.random.Philox(key=(seed, epoch),
    counter=(0, 0, 0, index)))`. A generator counts up the first of those four numbers, so no two examples
    share random numbers, as they would if that were the index.
    """

    def __init__(self, recipe: Recipe, split: Split, seed: int):
        self._recipe = recipe
        self._split = split
        self._seed = seed
        self._threads = len(os.sched_getaffinity(0))

    @property
    def description(self) -> str:
        return (
            f"{_FUNCTION} of {self._recipe.path} changes the training examples: {self._threads} threads "
            "prepare them ahead of the steps, and they are sent to the devices with each loop"
        )

    def check(self) -> float:
        """Tries a few examples. Returns the seconds that one takes.

        Raises:
          RecipeError: the recipe's code failed.
          DataError: the result is no example like the given one, or another one at the second time.
        """
        indices = np.arange(min(_TRIED, len(self._split)))
        epochs = np.zeros_like(indices)
        first, again = (tuple(array[indices] for array in self._split.arrays) for _ in range(2))
        self(first, indices, epochs)
        began = time.perf_counter()
        self(again, indices, epochs)
        seconds = (time.perf_counter() - began) / len(indices)
        for one, other in zip(first, again, strict=True):
            if one.tobytes() != other.tobytes():
                raise self._error(
                    "must draw random numbers from `rng` only, so that it is the same on every machine",
                    "two results for one example",
                )
        return seconds

    def __call__(
        self, arrays: tuple[np.ndarray, ...], indices: np.ndarray, epochs: np.ndarray
    ) -> None:
        """Augments examples in place.

        Args:
          arrays: [..., *shape of an example], in the order of `Split.arrays`.
          indices: int [...], which examples these are; padding is left as it is.
          epochs: int [...], the epochs that they are for, or how often a run that draws some examples
            several times in an epoch has visited them before.

        Raises RecipeError or DataError, as `check`; that of the first example which fails.
        """
        places = np.argwhere(indices != PADDING)
        share = -(-len(places) // (_SHARES * self._threads)) or 1
        shares = [places[start : start + share] for start in range(0, len(places), share)]
        pool = concurrent.futures.ThreadPoolExecutor(self._threads, _FUNCTION)
        with user_code.reported(self._recipe.path):
            try:
                done = [pool.submit(self._augment, arrays, indices, epochs, one) for one in shares]
                for one in done:
                    one.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _augment(self, arrays: tuple, indices: np.ndarray, epochs: np.ndarray, places) -> None:
        generators = _Generators(self._seed)
        for place in map(tuple, places.tolist()):
            own = tuple(array[place] for array in arrays)
            index, epoch = int(indices[place]), int(epochs[place])
            found = self._call(self._split.unpack(own), generators.of(epoch, index), index, epoch)
            for array, before, after in zip(arrays, own, self._results(found), strict=True):
                self._check_alike(before, after)
                array[place] = after

    def _call(self, example: tuple, rng: np.random.Generator, index: int, epoch: int) -> Any:
        try:
            return self._recipe.namespace[_FUNCTION](example, rng)
        except (Exception, SystemExit) as error:
            failure = user_code.failure(self._recipe.path, error)
            failure.add_note(f"  given training example {index}, in epoch {epoch}")
            raise failure from None

    def _results(self, found: Any) -> list[np.ndarray]:
        """The arrays of what `augment` returned, in the order of `Split.arrays`."""
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise self._error("must return (features, targets)", _shown(found))
        both = zip((self._split.features, self._split.targets), found, strict=True)
        return [one for wanted, part in both for one in self._columns(wanted, part)]

    def _columns(self, wanted: Columns, found: Any) -> list[np.ndarray]:
        if not isinstance(wanted, dict):
            return [np.asarray(found)]
        if not isinstance(found, dict) or {*found} != {*wanted}:
            raise self._error(f"must return {', '.join(wanted)} by name", _shown(found))
        return [np.asarray(found[name]) for name in wanted]

    def _check_alike(self, before: np.ndarray, after: np.ndarray) -> None:
        if after.shape != before.shape or after.dtype != before.dtype:
            raise self._error(
                f"must return arrays of the type and shape that it got, {_kind(before)}",
                f"{_kind(after)}",
            )

    def _error(self, rule: str, received: str) -> InputError:
        return DataError(
            f"`{_FUNCTION}` of {self._recipe.path} {rule}. Received: {received}; correct the recipe."
        )


class _Generators:
    """One random generator, set to the beginning of an example's own numbers: a new one takes longer."""

    def __init__(self, seed: int):
        self._seed = seed
        self._bits = np.random.Philox(key=(seed, 0))
        self._state: Any = self._bits.state
        self._generator = np.random.Generator(self._bits)

    def of(self, epoch: int, index: int) -> np.random.Generator:
        self._state["state"] = {
            "key": np.array((self._seed, epoch), np.uint64),
            "counter": np.array((0, 0, 0, index), np.uint64),
        }
        self._bits.state = self._state
        return self._generator


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"


def _shown(value: Any) -> str:
    names = f" with {', '.join(map(repr, value)) or 'nothing'}" if isinstance(value, dict) else ""
    length = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return f"a {type(value).__name__}{length}{names}"
