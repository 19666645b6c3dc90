"""What does tensorflow-datasets do in a process of its own?

`find` prepares a data set unless it is prepared, and says what is in it; `read` reads some rows. Results
are arrays in an `.npz` file.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from trainer.data.sources import child

_SAMPLE = 8  # Rows.


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
    builder, root = _prepared(job)
    info = builder.info
    features = {name: feature for name, feature in dict(info.features).items() if _is_flat(feature)}
    labels = [one.names for one in features.values() if getattr(one, "names", None)]
    first = next(iter(info.splits))
    sample = _rows(builder, first, 0, min(_SAMPLE, info.splits[first].num_examples), features)
    return {
        "root": str(root),
        "folder": str(builder.data_dir),
        "names": np.array([*features], np.str_),
        "splits": np.array(
            [(name, one.num_examples) for name, one in info.splits.items()], np.str_
        ),
        "classes": np.array(labels[0] if len(labels) == 1 else [], np.str_),
        "row_bytes": sum(array.nbytes for array in sample.values()) // _SAMPLE,
        **{f"sample/{name}": array for name, array in sample.items()},
    }


def _prepared(job: Mapping[str, Any]) -> tuple[Any, str]:
    """The builder of a data set that is prepared, and the folder it is in."""
    import tensorflow_datasets as tfds

    for root in job["roots"]:
        builder = tfds.builder(job["name"], data_dir=root)
        if builder.is_prepared():
            return builder, root
    root = job["roots"][0]
    with TemporaryDirectory(prefix="muster-tfds-download-") as downloads:
        builder = tfds.builder(job["name"], data_dir=root)
        builder.download_and_prepare(
            download_dir=downloads,
            download_config=tfds.download.DownloadConfig(
                manual_dir=job["files"] or None, try_download_gcs=False
            ),
        )
    return builder, root


def _is_flat(feature: Any) -> bool:
    """Whether it is an array, and not a dictionary or a sequence of them."""
    return getattr(feature, "shape", None) is not None and not isinstance(feature.shape, dict)


def _read(job: Mapping[str, Any]) -> dict[str, np.ndarray]:
    import tensorflow_datasets as tfds

    builder = tfds.builder(job["name"], data_dir=job["root"])
    features = {name: one for name, one in dict(builder.info.features).items() if _is_flat(one)}
    return _rows(builder, job["split"], job["start"], job["stop"], features)


def _rows(
    builder: Any, split: str, start: int, stop: int, names: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Some rows of a split, in the order of its records, whatever the number of its files."""
    import tensorflow_datasets as tfds

    in_order = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    rows = tfds.as_numpy(builder.as_dataset(f"{split}[{start}:{stop}]", read_config=in_order))
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for row in rows:
        for name, own in columns.items():
            own.append(np.asarray(row[name]))
    found = {name: np.stack(own) for name, own in columns.items()}
    return {
        name: array.astype(np.str_) if array.dtype.kind == "O" else array
        for name, array in found.items()
    }


if __name__ == "__main__":
    child.main(_do)
