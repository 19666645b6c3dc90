"""Where is the cluster said?

In one of three places: TF_CONFIG; the flags `--cluster` and `--task`; the variables of a step of Slurm
with several tasks. The first two together are refused. Slurm gives way to both: a cluster that was
written down, or that `launch` made within an allocation, is the one that is meant.
"""

import dataclasses
import os
from collections.abc import Mapping

from strategies.cluster import flags as cluster_flags
from strategies.cluster import roles, slurm, tf_config
from strategies.cluster.flags import ClusterFlags
from strategies.cluster.spec import TF_CONFIG, ClusterSpec
from strategies.errors import ClusterError

_AROUND = "start a cluster on this machine with `python -m trainer launch --ps="


def find(asked: ClusterFlags, environ: Mapping[str, str] = os.environ) -> ClusterSpec:
    """The cluster that this process is a task of, and which; alone where no place names one.

    `TF_CONFIG={}` says that there is none, also within a step of Slurm.

    Raises:
      ClusterError: a place describes nothing that can run, or two contradict each other.
    """
    written = tf_config.from_env(environ)
    if written.jobs or written.is_evaluator:
        _refuse_flags(asked, written)
        return written
    if asked.cluster or asked.task:
        return cluster_flags.read(asked, environ)
    if slurm.is_step(environ) and not environ.get(TF_CONFIG, "").strip():
        addresses, number = slurm.addresses(environ)
        jobs = roles.jobs(addresses, asked.ps, slurm.PLACE)
        task = roles.task_at(jobs, number)
        return tf_config.from_dict({"cluster": jobs, "task": task}, slurm.PLACE)
    if asked.ps:
        raise ClusterError(
            "`--ps` is for the tasks of a plain list in --cluster, or of Slurm. Received: "
            f"{asked.ps}, and there is neither; {_AROUND}{asked.ps}`."
        )
    return dataclasses.replace(written, note=_meant(environ))


def _meant(environ: Mapping[str, str]) -> str:
    """What to tell who is alone, and may not have meant to be."""
    if environ.get(TF_CONFIG, "").strip():
        return ""
    if slurm.is_unused(environ):
        return "; Slurm gave this job more, which srun would start"
    if environ.get(cluster_flags.COMPLETION_INDEX):
        return "; --cluster would list the tasks of this Indexed Job"
    return ""


def _refuse_flags(asked: ClusterFlags, written: ClusterSpec) -> None:
    for flag, value in vars(asked).items():
        if value:
            raise ClusterError(
                f"`--{flag}` and TF_CONFIG must not both say which cluster this is. Received: "
                f"{value!r} and a TF_CONFIG for {written}; leave the flag out, or unset TF_CONFIG."
            )
