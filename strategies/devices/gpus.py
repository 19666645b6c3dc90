"""Which GPUs does this process see, and why does none of them train?

`visible` lists them without TensorFlow. `take_own_share` restricts a task on a Slurm node to its own.
`why_none` explains why the CPU trains where a GPU was expected: TensorFlow's own notice is among the
lines that are hidden.
"""

import glob
import os
from collections.abc import Callable, Mapping, MutableMapping

from strategies.cluster import slurm
from strategies.packages import exact_version

_HIDDEN = ("", "-1")  # Values of CUDA_VISIBLE_DEVICES that hide every GPU.
_PACKAGE = "nvidia-cudnn-cu12"  # One of those that tensorflow[and-cuda] installs.


def visible(environ: Mapping[str, str]) -> list[str]:
    """The names of the usable GPUs: those in CUDA_VISIBLE_DEVICES, or all that have a device file."""
    files = sorted(glob.glob("/dev/nvidia[0-9]*"))
    wanted = environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None or not files:
        return [str(index) for index in range(len(files))]
    return [name.strip() for name in wanted.split(",") if name.strip() not in _HIDDEN]


def take_own_share(source: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Restricts a task that Slurm started to its own share of the node's GPUs.

    Slurm shows every GPU of a node to every task there, unless it was asked to bind them. If each task
    used all, they would run out of memory, or fail in NCCL, which allows one process per GPU.

    Call it before TensorFlow lists its devices.

    Args:
      source: where the cluster was read from, as in `ClusterSpec.source`.
      environ: the environment; sets CUDA_VISIBLE_DEVICES in it.
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
    """Why none of these devices is a GPU; "" where one is, or where none was expected.

    Args:
      devices: the task's, as `select.local_devices` names them.
      environ: the environment, whose CUDA_VISIBLE_DEVICES may hide the GPUs.
      files: the pattern of the GPUs' device files.
      version: returns the installed version of a package, or None.
    """
    is_on_cpu = bool(devices) and devices[0].startswith("CPU")
    if not is_on_cpu or environ.get("CUDA_VISIBLE_DEVICES", "0") in _HIDDEN:
        return ""
    has_gpu, has_packages = bool(glob.glob(files)), bool(version(_PACKAGE))
    if has_gpu and has_packages:
        return "TensorFlow cannot use the GPU here, so the CPU trains; TF_CPP_MIN_LOG_LEVEL=0 shows why"
    if has_gpu:
        return "this machine has a GPU, but the CPU trains; install tensorflow[and-cuda] to use the GPU"
    if has_packages:
        return "no GPU was found, so the CPU trains; start a container with --gpus=all to use one"
    return ""
