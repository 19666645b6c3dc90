"""Where could MNIST come from on this machine?

From the first of: arrays that an earlier start stored, MNIST prepared by tensorflow-datasets, a folder
with the four original files, the network. `plan` says which.
"""

import dataclasses
import hashlib
import os
import queue
import threading
from collections.abc import Mapping
from pathlib import Path

from strategies.errors import os_reason
from trainer.data.dataset import DataError

URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
VERSION = "3.0.1"
# Bytes and sha256, as tensorflow-datasets records them.
RAW_FILES = {
    "train-images-idx3-ubyte.gz": (
        9912422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "train-labels-idx1-ubyte.gz": (
        28881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "t10k-images-idx3-ubyte.gz": (
        1648877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        4542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}

# Other data sets whose files have these names, by their bytes as tensorflow-datasets records them.
_OTHER_DATA_SETS = {
    **dict.fromkeys((26421880, 29515, 4422102, 5148), "Fashion-MNIST"),
    **dict.fromkeys((18165135, 29497, 3041136, 5120), "KMNIST"),
}
_PROBE_TIMEOUT_S = 8.0  # So that a user who is offline gets the error within ten seconds.
FIX = (
    f"put the four original files ({', '.join(RAW_FILES)}) in a folder and name it with "
    "--config.data.dir=DIR or the variable MUSTER_MNIST_DIR, or train on the embedded digits with "
    "--config=digits_dense"
)


@dataclasses.dataclass(frozen=True)
class Locations:
    """The folders that may have MNIST, from the config and the environment."""

    data_dir: Path | None  # `data.dir`.
    tfds_dir: Path  # tensorflow-datasets' own default.
    mnist_dir: Path | None  # MUSTER_MNIST_DIR.

    @classmethod
    def from_env(cls, data_dir: str, environ: Mapping[str, str] = os.environ) -> "Locations":
        if "://" in data_dir:
            raise DataError(
                f"`data.dir` must be a folder on this machine. Received: {data_dir}; copy it first."
            )
        tfds_dir = environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
        mnist_dir = environ.get("MUSTER_MNIST_DIR", "")
        return cls(
            _absolute(data_dir) if data_dir else None,
            _absolute(tfds_dir),
            _absolute(mnist_dir) if mnist_dir else None,
        )

    def __post_init__(self):
        if self.data_dir and os.path.exists(self.data_dir) and not os.path.isdir(self.data_dir):
            raise DataError(
                f"`data.dir` must be a folder. Received: {self.data_dir}, which is not one."
            )

    @property
    def roots(self) -> list[Path]:
        """Folders in the layout of tensorflow-datasets, the preferred one first."""
        return [root for root in (self.data_dir, self.tfds_dir) if root]

    @property
    def caches(self) -> list[Path]:
        """The files in which an earlier start may have stored the arrays."""
        return [_cache(root) for root in self.roots]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the arrays will be made: `what` says so in a sentence."""

    what: str
    data_dir: Path  # Where tensorflow-datasets has prepared MNIST, or will.
    cache: Path  # The file in which the arrays will be stored.
    raw_dir: Path | None = None  # Has the four original files.
    is_download: bool = False


def describe(locations: Locations) -> str:
    """One sentence on where the arrays are, or how they would be made. Raises as `plan` does."""
    ready = next((cache for cache in locations.caches if os.path.exists(cache)), None)
    return f"MNIST is ready in {ready}" if ready else plan(locations).what


def plan(locations: Locations) -> Plan:
    """How to make the arrays here. It probes the network only if MNIST is not on this machine.

    Raises DataError where they could not be made.
    """
    for root in locations.roots:
        if is_prepared(root):
            what = f"MNIST is prepared in {root}; the first start decodes it, in about 10 s"
            return Plan(what, root, _cache(_writable([root, *locations.roots])))
    return _plan_to_prepare(locations)


def is_prepared(data_dir: Path) -> bool:
    """Whether tensorflow-datasets would find MNIST in `data_dir`: both of its JSON files are there."""
    folder = prepared_dir(data_dir)
    return all(os.path.isfile(folder / name) for name in ("dataset_info.json", "features.json"))


def prepared_dir(data_dir: Path) -> Path:
    return data_dir / "mnist" / VERSION


def _plan_to_prepare(locations: Locations) -> Plan:
    raw_dir = _raw_dir(locations)
    if not raw_dir:
        _require_network(locations)
    root = _writable(locations.roots)
    what = (
        f"the four original MNIST files are in {raw_dir}; the first start prepares them in {root}, "
        "in about 20 s"
        if raw_dir
        else f"MNIST is not on this machine; the first start downloads 11 MB from {URL} into {root}"
    )
    return Plan(what, root, _cache(root), raw_dir, is_download=not raw_dir)


def _absolute(text: str) -> Path:
    return Path(os.path.abspath(os.path.expanduser(text)))


def _cache(root: Path) -> Path:
    return root / "muster" / f"mnist-{VERSION}.npz"


def _raw_dir(locations: Locations) -> Path | None:
    """The folder with the four original files, which are verified; None where no folder has any."""
    folders = {"`data.dir`": locations.data_dir, "MUSTER_MNIST_DIR": locations.mnist_dir}
    for field, folder in folders.items():
        missing = [name for name in RAW_FILES if folder and not os.path.isfile(folder / name)]
        if folder is None or (len(missing) == len(RAW_FILES) and folder == locations.data_dir):
            continue  # `data.dir` may also be the folder to prepare MNIST in.
        if missing:
            raise DataError(
                f"{field} must hold the four original MNIST files. Received: {folder}, without "
                f"{', '.join(missing)}; complete it, or train with --config=digits_dense."
            )
        for name in RAW_FILES:
            _check_raw_file(folder / name)
        return folder
    return None


def _check_raw_file(path: Path) -> None:
    expected_bytes, expected_sha256 = RAW_FILES[path.name]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {os_reason(error)}.") from None
    if other := _OTHER_DATA_SETS.get(len(content)):
        raise DataError(
            f"{path} must be MNIST's file. Received: the file of this name of {other}; read {other} with "
            f"a recipe's `get_data`, or copy MNIST's from {URL}{path.name}."
        )
    if len(content) != expected_bytes:
        wrong = f"{len(content)} bytes instead of {expected_bytes}"
    elif hashlib.sha256(content).hexdigest() != expected_sha256:
        wrong = f"a sha256 other than {expected_sha256}"
    else:
        return
    raise DataError(f"{path} is damaged: it has {wrong}. Copy it again from {URL}{path.name}.")


def _writable(roots: list[Path]) -> Path:
    """The first of `roots` that exists or could be made, and is writable."""
    for root in roots:
        existing = next(path for path in (root, *root.parents) if os.path.exists(path))
        # Respected as the superuser too: somebody made the folder read-only on purpose.
        has_write_bit = existing.stat().st_mode & 0o222
        if os.path.isdir(existing) and has_write_bit and os.access(existing, os.W_OK):
            return root
    raise DataError(
        "`data.dir` must be a folder that can be written to, to prepare MNIST in. "
        f"Received: {', '.join(map(str, roots))}; give another with --config.data.dir=DIR."
    )


def _require_network(locations: Locations) -> None:
    problem = _probe(URL + "t10k-labels-idx1-ubyte.gz", _PROBE_TIMEOUT_S)
    if problem:
        folders = (
            [*locations.roots, locations.mnist_dir] if locations.mnist_dir else locations.roots
        )
        raise DataError(
            f"MNIST is not on this machine (searched {', '.join(map(str, folders))}) and "
            f"cannot be downloaded from {URL} ({problem}): {FIX}."
        )


def _probe(url: str, timeout_s: float) -> str:
    """Why `url` cannot be downloaded, "" if it can; returns within `timeout_s`."""
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    # In a thread, because no timeout of requests limits the DNS lookup.
    threading.Thread(
        target=lambda: answers.put(_head(url, timeout_s)), name="mnist-probe", daemon=True
    ).start()
    try:
        return answers.get(timeout=timeout_s)
    except queue.Empty:
        return f"no answer within {timeout_s:g} s"


def _head(url: str, timeout_s: float) -> str:
    import requests  # Used by tensorflow-datasets too: the same proxies and certificates.

    try:
        response = requests.head(url, timeout=timeout_s, allow_redirects=True)
    except requests.Timeout:
        return f"no answer within {timeout_s:g} s"
    except requests.RequestException as error:
        return type(error).__name__
    return "" if response.ok else f"HTTP {response.status_code}"
