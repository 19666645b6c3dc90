"""Which of this machine's GPUs does a task leave to others of its step?

Slurm shows all GPUs of a node to all tasks there, unless it was asked to bind them. Then tasks that each
took all would fail of memory, or of NCCL, which knows no two on one GPU.
"""

import os
from collections.abc import MutableMapping

from strategies.cluster import slurm
from trainer import launch


def take(place: str, environ: MutableMapping[str, str] = os.environ) -> None:
    """Leaves a process whose cluster is Slurm's its own share. To be called before TensorFlow looks."""
    if place == slurm.PLACE:
        seen = launch.gpus_here(environ)
        own = slurm.own_gpus(environ, seen)
        if own != seen:
            environ["CUDA_VISIBLE_DEVICES"] = ",".join(own)
