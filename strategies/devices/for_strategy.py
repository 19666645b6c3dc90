"""Which devices train in this process? Those that its strategy uses, or a reason why there are none.

`compile_cache` says whether programs that are compiled for them are kept.
"""

import os

from strategies import tensorflow_import
from strategies.choose import Choice
from strategies.devices import gpus
from strategies.devices.compile_cache import cache
from strategies.devices.compile_cache.cache import CompileCache
from strategies.errors import ClusterError
from strategies.packages import version
from strategies.tpu import preflight
from strategies.traits import DeviceSource


def local_devices(count: int, choice: Choice) -> list[str]:
    """The replica devices of this task; empty on a TPU, which finds its own cores.

    `count` is the flag `--devices`. With parameter servers, a task's TensorFlow server finds its GPUs.
    Raises ClusterError where there are fewer than `count`, or no TPU.
    """
    if choice.traits.devices is DeviceSource.TPU:
        return _tpu_devices(count, choice)
    if for_tpus := version("tensorflow-tpu"):
        raise ClusterError(
            f"`--strategy={choice.strategy}` needs the package tensorflow, as tensorflow-tpu compiles "
            f"for TPUs only. Received: tensorflow-tpu {for_tpus}; give --tpu=local on a TPU VM, or "
            "install tensorflow in its place."
        )
    with tensorflow_import.quietly():
        from strategies.devices import select

        if choice.traits.devices is DeviceSource.SERVER:
            return select.server_devices()
        return select.local_devices(count)


def _tpu_devices(count: int, choice: Choice) -> list[str]:
    if count:
        raise ClusterError(
            "`--devices` is for GPUs and the CPU; a TPU trains on all its cores. Received: "
            f"{count} with the TPU {choice.tpu!r}; leave it out."
        )
    preflight.preflight(choice.tpu)
    preflight.disable_library(choice.tpu, os.environ)
    return []


def compile_cache(named: str, choice: Choice) -> CompileCache:
    """Where compiled programs are kept, for the flag `--compile_cache`. Raises ClusterError."""
    if choice.traits.devices is DeviceSource.TPU:
        return CompileCache(reason="programs for a TPU are not kept")
    return cache.find(named)


def why_no_gpu(choice: Choice, devices: list[str]) -> str:
    """Like `gpus.why_none`; "" where TensorFlow's server finds the GPUs."""
    return "" if choice.traits.devices is DeviceSource.SERVER else gpus.why_none(devices)
