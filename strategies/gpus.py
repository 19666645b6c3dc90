"""Why does no GPU train here, where someone may count on one?

TensorFlow says nothing of a GPU that it cannot use, but in words that are kept from the screen.
"""

import glob
import os
from collections.abc import Callable, Mapping

from strategies.packages import exact_version

_HIDDEN = ("", "-1")  # Of CUDA_VISIBLE_DEVICES: none is wanted.
_PACKAGE = "nvidia-cudnn-cu12"  # One of those that tensorflow[and-cuda] brings.


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
