"""Is there a TPU at all?

TensorFlow without a TPU answers late or never: it polls a metadata server for minutes, waits on an
address nobody listens on, or aborts on a library of the wrong version. So `preflight` asks first,
in milliseconds and without TensorFlow.
"""

import glob
import pathlib
import re
import socket
from collections.abc import Callable

from strategies.errors import ClusterError
from strategies.packages import exact_version

PCI_DEVICES = "/sys/bus/pci/devices"
_GOOGLE = "0x1ae0"
_CHIPS = {  # By their PCI device ids.
    "0x0027": "v2 or v3",
    "0x005e": "v4",
    "0x0062": "v5p",
    "0x0063": "v5e",
    "0x006f": "v6e",
    "0x0076": "7x",
}
_GRPC, _PORT = "grpc://", 8470
_PACKAGES = "tensorflow-tpu==2.20.0 and libtpu==0.0.24"
# Of libtpu: Python cannot catch what the import of TensorFlow does then.
_FIRST_ABORTING = (0, 0, 32)
_CONNECT_TIMEOUT_S = 5.0
_CPU = "choose another --strategy to train without a TPU"


def preflight(
    tpu: str,
    pci_devices: str = PCI_DEVICES,
    version: Callable[[str], str | None] = exact_version,
) -> None:
    """Returns where a TPU can be had as far as can be told without touching it.

    Args:
      tpu: "local", "grpc://host:port" (several with commas), or a TPU's name.
      pci_devices: where the system lists its PCI devices.
      version: the installed version of a package, or None.

    Raises:
      ClusterError: no such TPU, or packages that cannot use it.
    """
    _check_packages(tpu, version)
    if tpu == "local":
        if not _chips(pci_devices):
            raise tpu_error(tpu, "found no TPU chip on this machine's PCI bus", "run on a TPU VM")
    elif tpu.startswith(_GRPC):
        for endpoint in tpu.split(","):
            answers(tpu, endpoint.removeprefix(_GRPC))
    elif not version("cloud-tpu-client"):
        raise tpu_error(tpu, "looks up a TPU by its name", "install cloud-tpu-client")


def _check_packages(tpu: str, version: Callable[[str], str | None]) -> None:
    found, library = version("tensorflow-tpu"), version("libtpu")
    if not found:
        problem = "needs the package tensorflow-tpu, as stock TensorFlow cannot use a TPU"
        raise tpu_error(tpu, problem, f"install {_PACKAGES} without the package tensorflow")
    if other := next(filter(version, ("tensorflow", "tensorflow-cpu")), ""):
        problem = f"needs tensorflow-tpu alone, as the package {other} overwrites its files"
        raise tpu_error(tpu, problem, "uninstall both and install tensorflow-tpu again")
    if not library:
        problem = f"needs the package libtpu beside tensorflow-tpu {found}"
        raise tpu_error(tpu, problem, f"install {_PACKAGES}")
    if found.startswith("2.20.") and _numbers(library) >= _FIRST_ABORTING:
        problem = f"cannot use libtpu {library}, with which tensorflow-tpu {found} aborts"
        raise tpu_error(tpu, problem, f"install {_PACKAGES}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


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


def answers(tpu: str, address: str) -> None:
    """Returns once a TPU's address, host or host:port, takes a connection. Raises ClusterError."""
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port or _PORT)), _CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        problem = f"got no answer from {_GRPC}{address} ({error})"
        raise tpu_error(tpu, problem, "start the TPU") from None
