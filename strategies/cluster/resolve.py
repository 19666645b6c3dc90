"""Which of its sources defines the cluster?

`find` reads TF_CONFIG; the flags `--cluster` and `--task`; the variables of an environment that describes
a whole cluster (Slurm, Vertex AI, TonY, SageMaker). TF_CONFIG and the flags together are an error. Both
override the environment: a cluster that is written down, or that `launch` starts within an allocation, is
the intended one.
"""

import dataclasses
import os
from collections.abc import Mapping

from strategies.cluster import alone, cluster_spec_variable, launched, sagemaker, slurm, tf_config
from strategies.cluster import flags as cluster_flags
from strategies.cluster.flags import ClusterFlags
from strategies.cluster.spec import ClusterSpec
from strategies.errors import ClusterError

# Each has `read(environ, ps)`, which returns None where the environment is another.
_ENVIRONMENTS = (slurm, cluster_spec_variable, sagemaker)
_LAUNCH = "start a cluster on this machine with `python -m trainer launch --ps="


def find(flags: ClusterFlags, environ: Mapping[str, str] = os.environ) -> ClusterSpec:
    """This process's cluster and task; a single task where no source defines a cluster.

    With `TF_CONFIG={}` it is a single task in any environment.

    Raises:
      ClusterError: a source describes a cluster that cannot run, or two sources define one, or this is
        one of several processes whose cluster nothing describes.
    """
    from_env = tf_config.from_env(environ)
    if from_env.jobs or from_env.is_evaluator:
        _check_no_flags(flags, from_env)
        return from_env
    if flags.cluster or flags.task:
        return cluster_flags.read(flags, environ)
    if not alone.is_asked_for(environ) and (found := _from_environment(environ, flags.ps)):
        return found
    if flags.ps:
        raise ClusterError(
            "`--ps` needs a --cluster that lists addresses without jobs, or a Slurm step. Received: "
            f"{flags.ps}, with neither; {_LAUNCH}{flags.ps}`."
        )
    return dataclasses.replace(from_env, note=_hint(environ))


def _from_environment(environ: Mapping[str, str], ps: int) -> ClusterSpec | None:
    """The cluster that this process was started in; None where nothing describes one."""
    for environment in _ENVIRONMENTS:
        if cluster := environment.read(environ, ps):
            launched.check_agrees(environ, cluster)
            return cluster
    launched.check(environ)
    return None


def _hint(environ: Mapping[str, str]) -> str:
    """How to start a cluster, for a single task whose environment suggests that one was intended."""
    if alone.is_asked_for(environ):
        return ""
    if slurm.is_unused(environ):
        return "; this Slurm job has more nodes or tasks, which srun would start"
    if environ.get(cluster_flags.COMPLETION_INDEX):
        return "; list the tasks of this Indexed Job in --cluster to train together"
    return ""


def _check_no_flags(flags: ClusterFlags, from_env: ClusterSpec) -> None:
    for flag, value in vars(flags).items():
        if value:
            raise ClusterError(
                f"`--{flag}` and TF_CONFIG must not both define the cluster. Received: {value!r}, and a "
                f"TF_CONFIG for {from_env}; leave the flag out, or unset TF_CONFIG."
            )
