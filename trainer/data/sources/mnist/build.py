"""How do MNIST's files become arrays?

`python -m trainer.data.sources.mnist.build JSON`, run by `arrays.py`, prepares MNIST with
tensorflow-datasets and stores the arrays. As a child process it imports TensorFlow so that its parent
need not, and can be killed at a deadline while tensorflow-datasets is retrying. Its last line on stderr
is its error.
"""

import shutil
from pathlib import Path

import numpy as np

from trainer.data.sources import child
from trainer.data.sources.mnist import arrays as mnist
from trainer.data.sources.mnist import locate

_BUILDER = f"mnist:{locate.VERSION}"


def build(job: dict) -> None:
    """Writes `cache`, an .npz of `mnist.ARRAYS`, after preparing MNIST in `data_dir` if necessary."""
    data_dir, scratch = Path(job["data_dir"]), Path(job["scratch"])
    scratch.mkdir(parents=True)
    if not locate.is_prepared(data_dir):
        _prepare(data_dir, job["raw_dir"], scratch)
    arrays = {}
    for split in ("train", "test"):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = _decode(data_dir, split)
    _check(arrays)
    unfinished = scratch / "arrays.npz"
    np.savez(unfinished, **arrays)  # type: ignore[arg-type]  # No array is called allow_pickle.
    unfinished.replace(job["cache"])


def _prepare(data_dir: Path, raw_dir: str | None, scratch: Path) -> None:
    """Prepares in `scratch` and renames the result, so that an incomplete folder is never found."""
    import tensorflow_datasets as tfds

    config = tfds.download.DownloadConfig(manual_dir=raw_dir, try_download_gcs=False)
    tfds.builder(_BUILDER, data_dir=scratch).download_and_prepare(
        download_dir=scratch / "downloads", download_config=config
    )
    target = locate.prepared_dir(data_dir)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)  # What is there is incomplete.
    locate.prepared_dir(scratch).rename(target)


def _decode(data_dir: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images [n, 28, 28] and int32 labels [n], in the order of their records."""
    import tensorflow_datasets as tfds

    builder = tfds.builder(_BUILDER, data_dir=data_dir)
    # One shard after another: otherwise the order would depend on the number of shards.
    in_order = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    whole = builder.as_dataset(split=split, batch_size=-1, as_supervised=True, read_config=in_order)
    images, labels = tfds.as_numpy(whole)
    return images[..., 0], labels.astype(np.int32)


def _check(arrays: dict[str, np.ndarray]) -> None:
    for name, (shape, dtype) in mnist.ARRAYS.items():
        received = arrays[name]
        if (received.shape, received.dtype) != (shape, dtype):
            raise ValueError(f"{name} is {received.dtype} {received.shape}, not {dtype} {shape}")


if __name__ == "__main__":
    child.main(build)
