"""Where could MNIST come from on this machine?

Looked for in this order: arrays that an earlier start left, MNIST prepared by tensorflow-datasets,
a folder with the four original files, the network.
"""

import dataclasses
import hashlib
import os
import queue
import threading
from collections.abc import Mapping
from pathlib import Path

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

_PROBE_TIMEOUT_S = 8.0  # A person offline should know within ten seconds.
WAYS_OUT = (
    f"put the four original files ({', '.join(RAW_FILES)}) in a folder and name it with "
    "--config.data.dir=DIR or the variable MUSTER_MNIST_DIR, or train on the embedded digits with "
    "--config=digits_dense"
)


@dataclasses.dataclass(frozen=True)
class Places:
    """The folders in which MNIST may be, from the config and the environment."""

    data_dir: Path | None  # `data.dir`.
    tfds_dir: Path  # tensorflow-datasets' own default.
    mnist_dir: Path | None  # MUSTER_MNIST_DIR.

    @classmethod
    def from_env(cls, data_dir: str, environ: Mapping[str, str] = os.environ) -> "Places":
        if "://" in data_dir:
            raise DataError(
                f"`data.dir` must be a folder on this machine. Received: {data_dir}; copy it first."
            )
        tfds_dir = environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
        places = map(_path, (data_dir, tfds_dir, environ.get("MUSTER_MNIST_DIR", "")))
        return cls(*places)

    def __post_init__(self):
        if self.data_dir and os.path.exists(self.data_dir) and not os.path.isdir(self.data_dir):
            raise DataError(
                f"`data.dir` must be a folder. Received: {self.data_dir}, which is not one."
            )

    @property
    def roots(self) -> list[Path]:
        """Folders laid out as tensorflow-datasets lays them out, the most wanted first."""
        return [root for root in (self.data_dir, self.tfds_dir) if root]

    @property
    def caches(self) -> list[Path]:
        """The files in which an earlier start may have left the arrays."""
        return [_cache(root) for root in self.roots]


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the arrays are going to be made: `what` says it in a sentence."""

    what: str
    data_dir: Path  # Where tensorflow-datasets has MNIST, or will.
    cache: Path  # Where the arrays will be.
    raw_dir: Path | None = None
    is_download: bool = False


def find(places: Places) -> str:
    """One sentence on where the arrays are, or how they would be made. Raises as `plan` does."""
    ready = next((cache for cache in places.caches if os.path.exists(cache)), None)
    return f"MNIST is ready in {ready}" if ready else plan(places).what


def plan(places: Places) -> Plan:
    """How to make the arrays here; asks the network only where nothing else is left.

    Raises DataError where they could not be made.
    """
    for root in places.roots:
        if is_prepared(root):
            what = f"MNIST is prepared in {root}; the first start decodes it, in about 10 s"
            return Plan(what, root, _cache(_writable([root, *places.roots])))
    return _plan_to_prepare(places)


def is_prepared(data_dir: Path) -> bool:
    """Whether tensorflow-datasets would say so: both of its descriptions are there."""
    folder = prepared_dir(data_dir)
    return all(os.path.isfile(folder / name) for name in ("dataset_info.json", "features.json"))


def prepared_dir(data_dir: Path) -> Path:
    return data_dir / "mnist" / VERSION


def _plan_to_prepare(places: Places) -> Plan:
    raw_dir = _raw_dir(places)
    if not raw_dir:
        _require_network(places)
    root = _writable(places.roots)
    what = (
        f"the four original MNIST files are in {raw_dir}; the first start prepares them in {root}, "
        "in about 20 s"
        if raw_dir
        else f"MNIST is not on this machine; the first start downloads 11 MB from {URL} into {root}"
    )
    return Plan(what, root, _cache(root), raw_dir, is_download=not raw_dir)


def _path(text: str) -> Path | None:
    return Path(os.path.abspath(os.path.expanduser(text))) if text else None


def _cache(root: Path) -> Path:
    return root / "muster" / f"mnist-{VERSION}.npz"


def _raw_dir(places: Places) -> Path | None:
    """The folder with the four original files, which are whole; None where no folder has any."""
    folders = {"`data.dir`": places.data_dir, "MUSTER_MNIST_DIR": places.mnist_dir}
    for field, folder in folders.items():
        missing = [name for name in RAW_FILES if folder and not os.path.isfile(folder / name)]
        if folder is None or (len(missing) == len(RAW_FILES) and folder == places.data_dir):
            continue  # `data.dir` may also be where MNIST is to be prepared.
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
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) != expected_bytes:
        wrong = f"{len(content)} bytes instead of {expected_bytes}"
    elif hashlib.sha256(content).hexdigest() != expected_sha256:
        wrong = f"a sha256 other than {expected_sha256}"
    else:
        return
    raise DataError(f"{path} is damaged: it has {wrong}. Copy it again from {URL}{path.name}.")


def _writable(roots: list[Path]) -> Path:
    """The first of `roots` that exists or could be made and may be written to."""
    for root in roots:
        existing = next(path for path in (root, *root.parents) if os.path.exists(path))
        # The mode counts for the superuser too: a folder kept read-only is kept so for a reason.
        has_write_bit = existing.stat().st_mode & 0o222
        if os.path.isdir(existing) and has_write_bit and os.access(existing, os.W_OK):
            return root
    raise DataError(
        "`data.dir` must be a folder that can be written to, to prepare MNIST in. "
        f"Received: {', '.join(map(str, roots))}; give another with --config.data.dir=DIR."
    )


def _require_network(places: Places) -> None:
    fault = _probe(URL + "t10k-labels-idx1-ubyte.gz", _PROBE_TIMEOUT_S)
    if fault:
        folders = [*places.roots, places.mnist_dir] if places.mnist_dir else places.roots
        raise DataError(
            f"MNIST is not on this machine (looked in {', '.join(map(str, folders))}) and "
            f"cannot be downloaded from {URL} ({fault}): {WAYS_OUT}."
        )


def _probe(url: str, timeout_s: float) -> str:
    """What keeps `url` from being downloaded, "" if nothing does; answers within `timeout_s`."""
    answers = queue.SimpleQueue()
    # A thread, because no timeout of requests bounds the look-up of a name.
    threading.Thread(
        target=lambda: answers.put(_head(url, timeout_s)), name="mnist-probe", daemon=True
    ).start()
    try:
        return answers.get(timeout=timeout_s)
    except queue.Empty:
        return f"no answer within {timeout_s:g} s"


def _head(url: str, timeout_s: float) -> str:
    import requests  # What tensorflow-datasets downloads with: the same proxies and certificates.

    try:
        response = requests.head(url, timeout=timeout_s, allow_redirects=True)
    except requests.Timeout:
        return f"no answer within {timeout_s:g} s"
    except requests.RequestException as error:
        return type(error).__name__
    return "" if response.ok else f"HTTP {response.status_code}"
