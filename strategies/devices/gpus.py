"""Which GPUs does this process see, and why does none of them train?

`visible` lists them without TensorFlow, `take_own_share` leaves the others of a Slurm node to the other
tasks there, and `why_none` explains a CPU that trains where a GPU was expected: TensorFlow's own notice
is in lines that are kept off the screen.
"""

import glob
import os
from collections.abc import Callable, Mapping, MutableMapping

from strategies.cluster import slurm
from strategies.packages import exact_version

_HIDDEN = ("", "-1")  # Of CUDA_VISIBLE_DEVICES: none is wanted.
_PACKAGE = "nvidia-cudnn-cu12"  # One of those that tensorflow[and-cuda] brings.


def visible(environ: Mapping[str, str]) -> list[str]:
    """The GPUs that may be used: those of CUDA_VISIBLE_DEVICES, or all that have a device file."""
    files = sorted(glob.glob("/dev/nvidia[0-9]*"))
    wanted = environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None or not files:
        return [str(index) for index in range(len(files))]
    return [name.strip() for name in wanted.split(",") if name.strip() not in ("", "-1")]


def take_own_share(source: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Restricts a task that Slurm started to its own share of the node's GPUs.

    Slurm shows all GPUs of a node to all tasks there, unless it was asked to bind them. Tasks that
    each took all would run out of memory, or fail in NCCL, which allows one process per GPU. Call it
    before TensorFlow lists its devices.
    """
    if source == slurm.SOURCE:
        seen = visible(environ)
        own = slurm.own_gpus(environ, seen)
        if own != seen:
            environ["CUDA_VISIBLE_DEVICES"] = ",".join(own)


def why_none(
    devices: list[str],
    environ: Mapping[str, str] = os.environ,
    files: str = "/dev/nvidia[0-9]*",
    version: Callable[[str], str | None] = exact_version,
) -> str:
    """What it means that these devices are no GPUs; "" where none is here, or wanted.

    Args:
      devices: of this task, as `devices.local_devices` names them.
      environ: where CUDA_VISIBLE_DEVICES may say which are wanted.
      files: those by which NVIDIA's driver shows a GPU.
      version: the installed version of a package, or None.
    """
    is_on_cpu = bool(devices) and devices[0].startswith("CPU")
    if not is_on_cpu or environ.get("CUDA_VISIBLE_DEVICES", "0") in _HIDDEN:
        return ""
    is_here, has_packages = bool(glob.glob(files)), bool(version(_PACKAGE))
    if is_here and has_packages:
        return "TensorFlow cannot use the GPU here, so the CPU trains; TF_CPP_MIN_LOG_LEVEL=0 shows why"
    if is_here:
        return (
            "a GPU is here, and the CPU trains; the packages of tensorflow[and-cuda] would use it"
        )
    if has_packages:
        return "no GPU was found, so the CPU trains; a container is given them by --gpus=all"
    return ""
