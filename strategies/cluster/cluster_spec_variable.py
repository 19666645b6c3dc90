"""Which cluster does the variable CLUSTER_SPEC describe? That of a Vertex AI job, or of TonY's on YARN.

Vertex AI's is as TF_CONFIG, with its worker pools as jobs. TonY's has the jobs alone, and JOB_NAME and
TASK_INDEX say which task this is. Both also set TF_CONFIG where they know that a program uses TensorFlow,
which then comes first.
"""

from collections.abc import Mapping
from typing import Any

from strategies.cluster import alone, tf_config
from strategies.cluster.spec import ClusterSpec
from strategies.errors import ClusterError

VARIABLE = "CLUSTER_SPEC"
_JOB_NAME, _TASK_INDEX = "JOB_NAME", "TASK_INDEX"
# What Vertex AI documents for the pools in their order, and sets in TF_CONFIG.
_POOLS = {
    "workerpool0": "chief",
    "workerpool1": "worker",
    "workerpool2": "ps",
    "workerpool3": "evaluator",
}


def read(environ: Mapping[str, str], ps: int) -> ClusterSpec | None:
    """The cluster; None where the variable describes none, or a single task. Raises ClusterError."""
    text = environ.get(VARIABLE, "").strip()
    if not text.startswith("{"):  # Another program's variable.
        return None
    with alone.offered():
        config = _config(tf_config.json_object(text, VARIABLE), environ)
        found = tf_config.from_dict(config, VARIABLE) if config else None
    if found is None or (found.is_single_task and not found.is_evaluator):
        return None
    if ps:
        raise ClusterError(
            f"`--ps` needs a cluster without job names. Received: {ps}, and a {VARIABLE} for {found}; "
            "leave it out."
        )
    return found


def _config(found: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """As TF_CONFIG; empty where the object describes no cluster."""
    if isinstance(found.get("cluster"), Mapping):
        return {"cluster": _renamed(found["cluster"]), "task": _of_pool(found.get("task"))}
    if environ.get(_JOB_NAME):
        task = {"type": environ[_JOB_NAME], "index": environ.get(_TASK_INDEX)}
        return {"cluster": found, "task": task}
    return {}


def _renamed(cluster: Mapping[str, Any]) -> dict[str, Any]:
    return {_POOLS.get(pool, pool): addresses for pool, addresses in cluster.items()}


def _of_pool(task: Any) -> Any:
    if not isinstance(task, Mapping) or not isinstance(task.get("type"), str):
        return task
    return {**task, "type": _POOLS.get(task["type"], task["type"])}
