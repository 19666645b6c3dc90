"""What does tensorflow-datasets do in a process of its own?

`find` prepares a data set unless it is prepared, and says what is in it, with its rows where they are
few; `read` reads some rows. Results are arrays in an `.npz` file.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from trainer.data.sources import child

_SAMPLE = 8  # Rows.
_BATCH = 1024


class Failed(Exception):
    """The process failed; the text is the reason."""


def run(what: str, job: Mapping[str, Any], timeout_s: float) -> dict[str, np.ndarray]:
    """The arrays that the job results in. Raises Failed."""
    with TemporaryDirectory(prefix="muster-tfds-") as folder:
        path = Path(folder, "result.npz")
        fault = child.run(__name__, {**job, "what": what, "result": str(path)}, timeout_s)
        if fault:
            raise Failed(fault)
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}


def _do(job: dict[str, Any]) -> None:
    found = {"find": _find, "read": _read}[job["what"]](job)
    np.savez(job["result"], **found)


def _find(job: Mapping[str, Any]) -> dict[str, Any]:
    builder = _prepared(job)
    info = builder.info
    features = _features(builder)
    labels = [one.names for one in features.values() if getattr(one, "names", None)]
    counts = {name: one.num_examples for name, one in info.splits.items()}
    first = job["splits"][0] if job["splits"][0] in counts else next(iter(counts))
    sample = _rows(builder, first, 0, min(_SAMPLE, counts[first]), features)
    row_bytes = sum(array.nbytes for array in sample.values()) // _SAMPLE
    wanted = [split for split in job["splits"] if split in counts]
    whole = {}
    if row_bytes * sum(counts[split] for split in wanted) <= job["small"]:
        whole = {
            f"{split}/{name}": array
            for split in wanted
            for name, array in _rows(builder, split, 0, counts[split], features).items()
        }
    return {
        "names": np.array([*features], np.str_),
        "splits": np.array([*counts.items()], np.str_),
        "classes": np.array(labels[0] if len(labels) == 1 else [], np.str_),
        "row_bytes": row_bytes,
        **{f"sample/{name}": array for name, array in sample.items()},
        **whole,
    }


def _prepared(job: Mapping[str, Any]) -> Any:
    """The builder of a data set that is prepared."""
    import tensorflow_datasets as tfds

    builder = tfds.builder(job["name"], data_dir=job["root"])
    if builder.is_prepared():
        return builder
    # In another folder, and renamed, so that an incomplete one is never found.
    scratch = Path(job["scratch"])
    unfinished = tfds.builder(job["name"], data_dir=scratch)
    unfinished.download_and_prepare(
        download_dir=scratch / "downloads",
        download_config=tfds.download.DownloadConfig(
            manual_dir=job["files"] or None, try_download_gcs=False
        ),
    )
    target = Path(builder.data_dir)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)  # What is there is incomplete.
    Path(unfinished.data_dir).rename(target)
    return tfds.builder(job["name"], data_dir=job["root"])


def _read(job: Mapping[str, Any]) -> dict[str, np.ndarray]:
    import tensorflow_datasets as tfds

    builder = tfds.builder(job["name"], data_dir=job["root"])
    return _rows(builder, job["split"], job["start"], job["stop"], _features(builder))


def _features(builder: Any) -> dict[str, Any]:
    """Those that are arrays, and not a dictionary or a sequence of them."""
    return {
        name: feature
        for name, feature in dict(builder.info.features).items()
        if getattr(feature, "shape", None) is not None and not isinstance(feature.shape, dict)
    }


def _rows(
    builder: Any, split: str, start: int, stop: int, features: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Some rows of a split, in the order of its records, whatever the number of its files."""
    import tensorflow_datasets as tfds

    in_order = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    found = builder.as_dataset(f"{split}[{start}:{stop}]", read_config=in_order)
    rows = found.map(lambda row: {name: row[name] for name in features}).batch(_BATCH)
    batches = [*tfds.as_numpy(rows)]
    columns = {name: np.concatenate([batch[name] for batch in batches]) for name in features}
    return {
        name: _text(array) if array.dtype.kind == "O" else array for name, array in columns.items()
    }


def _text(array: np.ndarray) -> np.ndarray:
    return np.array([text.decode() for text in array.ravel()], np.str_).reshape(array.shape)


if __name__ == "__main__":
    child.main(_do)
