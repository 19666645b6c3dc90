"""Is there a TPU at all?

TensorFlow without a TPU answers late or never: it polls a metadata server for minutes, waits on an
address nobody listens on, or aborts on a library of the wrong version. So `preflight` asks first,
in milliseconds and without TensorFlow.
"""

import glob
import importlib.metadata
import pathlib
import socket
from collections.abc import Callable

from strategies.errors import ClusterError

PCI_DEVICES = "/sys/bus/pci/devices"
_GOOGLE = "0x1ae0"
_CHIPS = {
    "0x0027",
    "0x005e",
    "0x0062",
    "0x0063",
    "0x006f",
    "0x0076",
}  # v2/v3, v4, v5p, v5e, v6e, 7x
_CONNECT_TIMEOUT_S = 5.0
_CPU = "choose another --strategy to train without a TPU"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def preflight(
    tpu: str,
    pci_devices: str = PCI_DEVICES,
    version: Callable[[str], str | None] = _version,
) -> None:
    """Returns where a TPU can be had as far as can be told without touching it.

    Args:
      tpu: "local", "grpc://host:port" (several with commas), or a TPU's name.
      pci_devices: where the system lists its PCI devices.
      version: the installed version of a package, or None.

    Raises:
      ClusterError: no such TPU, or packages that cannot use it.
    """
    if not version("tensorflow-tpu"):
        raise tpu_error(
            tpu,
            "needs the package tensorflow-tpu, as stock TensorFlow cannot use a TPU",
            "install tensorflow-tpu==2.20.0 and libtpu==0.0.24 without the package tensorflow",
        )
    if version("tensorflow"):
        raise tpu_error(
            tpu,
            "needs tensorflow-tpu alone, as the package tensorflow overwrites its files",
            "uninstall both and install tensorflow-tpu again",
        )
    if tpu == "local" and not _chips(pci_devices):
        raise tpu_error(tpu, "found no TPU chip on this machine's PCI bus", "run on a TPU VM")
    if tpu.startswith("grpc://"):
        for endpoint in tpu.split(","):
            _connect(tpu, endpoint)
    elif tpu != "local" and not version("cloud-tpu-client"):
        raise tpu_error(tpu, "looks up a TPU by its name", "install cloud-tpu-client")


def tpu_error(tpu: str, problem: str, way_out: str) -> ClusterError:
    return ClusterError(f"`--tpu` {problem}. Received: {tpu!r}; {way_out}, or {_CPU}.")


def _chips(pci_devices: str) -> int:
    def read(device: str, field: str) -> str:
        try:
            return pathlib.Path(device, field).read_text().strip()
        except OSError:
            return ""

    devices = glob.glob(pci_devices + "/*")
    return sum(read(d, "vendor") == _GOOGLE and read(d, "device") in _CHIPS for d in devices)


def _connect(tpu: str, endpoint: str) -> None:
    host, _, port = endpoint.removeprefix("grpc://").partition(":")
    try:
        socket.create_connection((host, int(port or 8470)), _CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise tpu_error(tpu, f"got no answer from {endpoint} ({error})", "start the TPU") from None
