"""Where could a data set of tensorflow-datasets come from on this machine?

From the first of: a folder in which it is prepared, a folder with its original files, the network. `plan`
says which.
"""

import dataclasses
import os
import queue
import threading
from collections.abc import Mapping
from pathlib import Path

from trainer.data.address import Address
from trainer.data.dataset import DataError
from trainer.data.prepared.folder import is_writable
from trainer.data.sources import originals
from trainer.data.sources.files import absolute

_PROBE_TIMEOUT_S = 8.0  # So that a user who is offline gets the error within ten seconds.
_PREPARED = ("dataset_info.json", "features.json")  # Of a folder that is complete.


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the rows will be read: `what` says so in a sentence."""

    what: str
    data_set: str  # Its name, without configuration and version.
    root: Path  # Where it is prepared, or will be.
    is_prepared: bool = False
    files: Path | None = None  # Has the original files.

    @property
    def scratch(self) -> Path:
        """Where it is prepared before it is complete."""
        return self.root / "muster" / f"scratch-{self.data_set}"

    @property
    def lock(self) -> Path:
        return self.root / "muster" / f"lock-{self.data_set}"

    def explain(self, fault: str) -> DataError:
        """The error where what was planned has failed."""
        name = self.data_set
        if self.is_prepared:
            return DataError(
                f"{name} in {self.root / name} cannot be read ({fault}); delete it, and the next start "
                "prepares it again."
            )
        if self.files:
            return DataError(
                f"{name} could not be prepared from {self.files} in {self.root}: {fault}."
            )
        return DataError(f"{name} could not be downloaded ({fault}): {_fix(name)}.")


def plan(address: Address, environ: Mapping[str, str] = os.environ) -> Plan:
    """How to read what the address names. Probes the network only if it is not on this machine.

    Raises DataError where it could not be read.
    """
    if len(address.items) > 1:
        raise address.error("must name one data set", ", ".join(address.items))
    (item,) = address.items
    usual = environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    roots = [absolute(root) for root in (address.config.dir, usual) if root]
    name = item.partition(":")[0].partition("/")[0]
    for root in roots:
        if _is_prepared(root, item):
            what = f"{name} is prepared in {root}; the first start decodes it"
            return Plan(what, name, root, is_prepared=True)
    files = _files(address, name, environ)
    if not files:
        _require_network(name, roots)
    root = _writable(name, roots)
    what = (
        f"the original files of {name} are in {files}; the first start prepares them in {root}"
        if files
        else f"{name} is not on this machine; the first start downloads it into {root}"
    )
    return Plan(what, name, root, files=files)


def _is_prepared(root: Path, item: str) -> bool:
    """Whether tensorflow-datasets would find it in a folder: both of its JSON files are there."""
    name, _, version = item.partition(":")
    found = (root / name).glob(f"{version or '*'}/{_PREPARED[0]}")
    deeper = (root / name).glob(f"*/{version or '*'}/{_PREPARED[0]}")  # Of a configuration.
    return any((path.parent / _PREPARED[1]).is_file() for path in (*found, *deeper))


def _files(address: Address, name: str, environ: Mapping[str, str]) -> Path | None:
    """The folder with the original files; None where no folder has any."""
    variable = _variable(name)
    folders = {
        "`files` of `data.source`": address.options.files,
        "`data.dir`": address.config.dir,  # It may also be the folder to prepare it in.
        variable: environ.get(variable, ""),
    }
    for field, folder in folders.items():
        is_optional, some_do = field == "`data.dir`", "/" in address.items[0]
        if folder and originals.find(name, field, absolute(folder), is_optional, some_do):
            return absolute(folder)
    return None


def _variable(name: str) -> str:
    """The variable that names the folder with the original files: MUSTER_MNIST_DIR."""
    return f"MUSTER_{name.upper()}_DIR"


def _fix(name: str) -> str:
    files = originals.shown([file.name for file in originals.recorded(name)])
    own = f"its original files ({files})" if files else "its original files"
    return (
        f"{'' if files else 'correct the name, or '}put {own} in a folder and name it with "
        f"--config.data.dir=DIR or the variable {_variable(name)}, or train on the embedded "
        "digits with --config=digits_dense"
    )


def _writable(name: str, roots: list[Path]) -> Path:
    """The first of `roots` that exists or could be made, and is writable."""
    for root in roots:
        if is_writable(root):
            return root
    raise DataError(
        f"`data.dir` must be a folder that can be written to, to prepare {name} in. "
        f"Received: {', '.join(map(str, roots))}; give another with --config.data.dir=DIR."
    )


def _require_network(name: str, roots: list[Path]) -> None:
    """Raises DataError where the server of its files does not answer; else nobody knows yet."""
    files = originals.recorded(name)
    # The smallest one. TensorFlow's package would retry for minutes.
    url = min(files, key=lambda file: file.size).url if files else ""
    if url and (problem := _probe(url, _PROBE_TIMEOUT_S)):
        raise DataError(
            f"{name} is not on this machine (searched {', '.join(map(str, roots))}) and cannot be "
            f"downloaded from {url.rpartition('/')[0]}/ ({problem}): {_fix(name)}."
        )


def _probe(url: str, timeout_s: float) -> str:
    """Why `url` cannot be downloaded, "" if it can; returns within `timeout_s`."""
    answers: queue.SimpleQueue[str] = queue.SimpleQueue()
    # In a thread, because no timeout of requests limits the DNS lookup.
    threading.Thread(
        target=lambda: answers.put(_head(url, timeout_s)), name="probe", daemon=True
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
