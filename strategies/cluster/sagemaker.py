"""Which cluster do the instances of this SageMaker training job form?

`read` takes it from SM_HOSTS, the names of all instances, and SM_CURRENT_HOST, this one's. Each instance
runs one task. SageMaker sets TF_CONFIG itself where a job asks it to, which then comes first.
"""

import json
from collections.abc import Mapping

from strategies.cluster import alone, roles, tf_config
from strategies.cluster.spec import ClusterSpec

SOURCE = "SageMaker"
_HOSTS, _CURRENT = "SM_HOSTS", "SM_CURRENT_HOST"
_PORT = 2222  # As in SageMaker's own TF_CONFIG.
_FIX = "set it as SageMaker does, or use --cluster"


def read(environ: Mapping[str, str], ps: int) -> ClusterSpec | None:
    """The cluster; None where this is no job of several instances. Raises ClusterError."""
    if not environ.get(_HOSTS, "").strip():
        return None
    hosts = _hosts(environ[_HOSTS])
    current = environ.get(_CURRENT, "")
    if len(hosts) < 2:
        return None
    if hosts.count(current) != 1:
        problem = f"`{_CURRENT}` must be one of the names in `{_HOSTS}`"
        raise alone.error(SOURCE, problem, [current, *hosts], _FIX)
    jobs = roles.jobs([f"{host}:{_PORT}" for host in hosts], ps, SOURCE)
    task = roles.task_at(jobs, hosts.index(current))
    return tf_config.from_dict({"cluster": jobs, "task": task}, SOURCE)


def _hosts(text: str) -> list[str]:
    try:
        hosts = json.loads(text)
    except (ValueError, RecursionError):
        hosts = None
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise alone.error(SOURCE, f"`{_HOSTS}` must be a JSON list of names", text, _FIX)
    return hosts
