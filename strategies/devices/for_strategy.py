"""Which devices train in this process, and why are there no others?"""

import os

from strategies import tensorflow_import
from strategies.choose import Choice
from strategies.devices import gpus
from strategies.errors import ClusterError
from strategies.packages import version
from strategies.tpu import preflight


def local_devices(count: int, choice: Choice) -> list[str]:
    """This task's replica devices. A TPU has its own, and a server's are TensorFlow's to take.

    Raises ClusterError where there are not so many, or no TPU.
    """
    if choice.strategy == "tpu":
        if count:
            raise ClusterError(
                "`--devices` is for GPUs and the CPU; a TPU trains on all its cores. Received: "
                f"{count} with the TPU {choice.tpu!r}; leave it out."
            )
        preflight.preflight(choice.tpu)
        preflight.disable_library(choice.tpu, os.environ)
        return []
    if for_tpus := version("tensorflow-tpu"):
        raise ClusterError(
            f"`--strategy={choice.strategy}` needs the package tensorflow, as tensorflow-tpu compiles "
            f"for TPUs alone. Received: tensorflow-tpu {for_tpus}; give --tpu=local on a TPU VM, or "
            "install tensorflow in its place."
        )
    with tensorflow_import.quietly():
        from strategies.devices import select

        servers_own = choice.strategy == "parameter_server"
        names = select.server_devices() if servers_own else select.local_devices(count)
    return names


def why_no_gpu(choice: Choice, devices: list[str]) -> str:
    """As `gpus.why_none`; "" with parameter servers, whose own GPUs are TensorFlow's to find."""
    return "" if choice.strategy == "parameter_server" else gpus.why_none(devices)
