"""Is there a TPU at all?

`preflight` checks in milliseconds, without TensorFlow, and raises an error with the cause if not.
TensorFlow without a TPU would poll a metadata server for minutes, wait for an address without a server,
or abort on a library of the wrong version.
"""

import glob
import os
import pathlib
import re
import socket
from collections.abc import Callable, Mapping, MutableMapping

from strategies.errors import ClusterError
from strategies.packages import exact_version

PCI_DEVICES = "/sys/bus/pci/devices"
PRODUCT = "/sys/class/dmi/id/product_name"  # Begins with Google on Google Cloud.
_METADATA_SERVERS = ("GCE_METADATA_HOST", "GCE_METADATA_IP")  # Variables that name another one.
_LOAD_LIBRARY = "TPU_LOAD_LIBRARY"
_HOSTS = "TPU_WORKER_HOSTNAMES"  # A slice's hosts, comma-separated, in Kubernetes.
_GOOGLE = "0x1ae0"
_CHIPS = {  # By PCI device id.
    "0x0027": "v2 or v3",
    "0x005e": "v4",
    "0x0062": "v5p",
    "0x0063": "v5e",
    "0x006f": "v6e",
    "0x0076": "7x",
}
_GRPC, _PORT = "grpc://", 8470
_PACKAGES = "tensorflow-tpu==2.20.0 and libtpu==0.0.24"
# Not cloud-tpu-client, which needs Google's packages of 2020; gs:// needs newer ones.
_API_CLIENT = ("google-api-python-client", "oauth2client")
# Of libtpu: TensorFlow's import aborts the process, which Python cannot catch.
_FIRST_ABORTING = (0, 0, 32)
_CONNECT_TIMEOUT_S = 5.0
_CPU = "choose another --strategy to train without a TPU"


def preflight(
    tpu: str,
    pci_devices: str = PCI_DEVICES,
    version: Callable[[str], str | None] = exact_version,
    product: str = PRODUCT,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Checks that the TPU is available, as far as that is known without using it.

    Args:
      tpu: "local", "grpc://host:port" (several separated by commas), or a TPU's name.
      pci_devices: the folder in which the system lists its PCI devices.
      version: returns the installed version of a package, or None.
      product: the file in which the system names the machine.
      environ: the environment variables.

    Raises:
      ClusterError: there is no such TPU, or the installed packages cannot use it.
    """
    _check_packages(tpu, version)
    if tpu == "local":
        _check_local(tpu, pci_devices, environ)
    elif tpu.startswith(_GRPC):
        for endpoint in tpu.split(","):
            check_answers(tpu, endpoint.removeprefix(_GRPC))
    else:
        _check_name(tpu, version, product, environ)


def _check_local(tpu: str, pci_devices: str, environ: Mapping[str, str]) -> None:
    if environ.get(_LOAD_LIBRARY) == "0":
        problem = f"names this machine's TPU, but {_LOAD_LIBRARY}=0 disables its library"
        raise tpu_error(tpu, problem, "unset that, or name the TPU if it has several hosts")
    if "," in (hosts := environ.get(_HOSTS, "")):
        problem = f"is one of the {len(hosts.split(','))} hosts that {_HOSTS} names"
        fix = (
            "run on one host only, and name the TPU or all addresses as in grpc://10.0.0.2:8470,..."
        )
        raise tpu_error(tpu, problem, fix)
    if not _chips(pci_devices):
        raise tpu_error(tpu, "found no TPU chip on this machine's PCI bus", "run on a TPU VM")


def _check_name(
    tpu: str, version: Callable[[str], str | None], product: str, environ: Mapping[str, str]
) -> None:
    """A name is resolved in this machine's project and zone, which only Google Cloud reports."""
    if missing := [name for name in _API_CLIENT if not version(name)]:
        raise tpu_error(
            tpu,
            "needs Google's API client to look up a TPU's name",
            f"install {' and '.join(missing)}",
        )
    if not _text(product).startswith("Google") and not any(map(environ.get, _METADATA_SERVERS)):
        problem = (
            "looks up a TPU's name in this machine's project and zone, but this is not Google Cloud"
        )
        fix = "run on a TPU VM, or give the TPU's addresses as in grpc://10.0.0.2:8470"
        raise tpu_error(tpu, problem, fix)


def disable_library(tpu: str, environ: MutableMapping[str, str]) -> None:
    """Keeps TensorFlow from loading libtpu for a TPU that is reached over the network.

    On one of the TPU's hosts the library would take the chips from the server that uses them. Call it
    before TensorFlow is imported.
    """
    if tpu != "local":
        environ.setdefault(_LOAD_LIBRARY, "0")


def _check_packages(tpu: str, version: Callable[[str], str | None]) -> None:
    found, library = version("tensorflow-tpu"), version("libtpu")
    if not found:
        problem = "needs the package tensorflow-tpu, as stock TensorFlow cannot use a TPU"
        raise tpu_error(tpu, problem, f"install {_PACKAGES} without the package tensorflow")
    if other := next(filter(version, ("tensorflow", "tensorflow-cpu")), ""):
        problem = f"needs tensorflow-tpu only, as the package {other} overwrites its files"
        raise tpu_error(tpu, problem, "uninstall both and install tensorflow-tpu again")
    if not library:
        problem = f"needs the package libtpu beside tensorflow-tpu {found}"
        raise tpu_error(tpu, problem, f"install {_PACKAGES}")
    if found.startswith("2.20.") and _numbers(library) >= _FIRST_ABORTING:
        problem = f"cannot use libtpu {library}, with which tensorflow-tpu {found} aborts"
        raise tpu_error(tpu, problem, f"install {_PACKAGES}")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def tpu_error(tpu: str, problem: str, fix: str) -> ClusterError:
    """The error about the flag, with its value and how to fix it."""
    return ClusterError(f"`--tpu` {problem}. Received: {tpu!r}; {fix}, or {_CPU}.")


def _chips(pci_devices: str) -> int:
    devices = glob.glob(pci_devices + "/*")
    ids = [(_text(f"{device}/vendor"), _text(f"{device}/device")) for device in devices]
    return sum(vendor == _GOOGLE and device in _CHIPS for vendor, device in ids)


def _text(path: str) -> str:
    try:
        return pathlib.Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def check_answers(tpu: str, address: str) -> None:
    """Raises ClusterError unless a TPU's address, host or host:port, accepts a connection."""
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port or _PORT)), _CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        problem = f"got no answer from {_GRPC}{address} ({error})"
        raise tpu_error(tpu, problem, "start the TPU") from None
