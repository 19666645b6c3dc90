"""What are MNIST's arrays, and how are they loaded in under a second?

The first run on a machine lets tensorflow-datasets prepare MNIST, in a child process (`build.py`) that is
killed at a deadline. The child stores the arrays in a cache file, which loads without TensorFlow.
"""

import shutil
from pathlib import Path

import numpy as np
from absl import logging

from trainer.data.dataset import DataConfig, DataError, Dataset, Split
from trainer.data.prepared.lock import locked
from trainer.data.sources import child
from trainer.data.sources.mnist import locate
from trainer.data.sources.mnist.locate import Locations, Plan
from trainer.storage import npz

NUM_TRAIN = 60_000
NUM_FEATURES = 28 * 28
ARRAYS: dict[str, npz.ArrayType] = {
    "train_images": ((NUM_TRAIN, 28, 28), np.dtype(np.uint8)),
    "train_labels": ((NUM_TRAIN,), np.dtype(np.int32)),
    "test_images": ((10000, 28, 28), np.dtype(np.uint8)),
    "test_labels": ((10000,), np.dtype(np.int32)),
}


def load(config: DataConfig) -> Dataset:
    """uint8 images [60000, 28, 28] and [10000, 28, 28] in 10 classes, in tensorflow-datasets' order.

    The first load on a machine takes about 20 s, and at most `data.download_timeout_s`. Raises DataError
    where MNIST is not on this machine and cannot be downloaded, or is damaged.
    """
    arrays, cache = _arrays(Locations.from_env(config.dir), config.download_timeout_s)
    return Dataset(
        name="mnist",
        train=Split(arrays["train_images"], arrays["train_labels"]),
        test=Split(arrays["test_images"], arrays["test_labels"]),
        num_classes=10,
        num_outputs=10,
        description=f"MNIST, 60,000 images to train on and 10,000 to test on, from {cache.parent}",
        feature_scale=1 / 255,
    )


def describe(config: DataConfig) -> str:
    return locate.describe(Locations.from_env(config.dir))


def _arrays(locations: Locations, timeout_s: float) -> tuple[dict[str, np.ndarray], Path]:
    """The four arrays and the cache file they are in, which is made first if necessary."""
    for cache in locations.caches:
        if arrays := _read(cache):
            return arrays, cache
    plan = locate.plan(locations)
    with locked(plan.cache.parent / "lock", "MNIST", timeout_s):
        arrays = _read(plan.cache)  # Another task on this machine may have made it.
        if not arrays:
            logging.info("%s", plan.what)
            _build(plan, timeout_s)
            arrays = _read(plan.cache)
    if not arrays:
        raise DataError(f"{plan.cache} was just written and is damaged; check the disk it is on.")
    return arrays, plan.cache


def _read(cache: Path) -> dict[str, np.ndarray] | None:
    """The arrays, each verified by its CRC as it is read; None where they are missing or damaged."""
    try:
        with open(cache, "rb") as file:
            return npz.read(file, ARRAYS)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logging.warning("%s is damaged and not used: %s", cache, error)
        return None


def _build(plan: Plan, timeout_s: float) -> None:
    """Stores the arrays in `plan.cache`. Removes its temporary files, also where it fails."""
    scratch = plan.cache.parent / "scratch"
    job = {
        "data_dir": str(plan.data_dir),
        "raw_dir": str(plan.raw_dir) if plan.raw_dir else None,
        "cache": str(plan.cache),
        "scratch": str(scratch),
    }
    try:
        shutil.rmtree(scratch, ignore_errors=True)  # Left by a task that was killed.
        fault = child.run("trainer.data.sources.mnist.build", job, timeout_s)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if fault:
        raise DataError(_explain(plan, fault))


def _explain(plan: Plan, fault: str) -> str:
    if plan.is_download:
        return f"MNIST could not be downloaded from {locate.URL} ({fault}): {locate.FIX}."
    if plan.raw_dir:
        return f"MNIST could not be prepared from {plan.raw_dir} in {plan.data_dir}: {fault}."
    folder = locate.prepared_dir(plan.data_dir)
    return f"MNIST in {folder} cannot be read ({fault}); delete it, and the next start prepares it again."
