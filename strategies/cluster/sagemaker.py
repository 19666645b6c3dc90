"""Which cluster do the instances of this SageMaker training job form?

`read` takes it from SM_HOSTS, the names of all instances, and SM_CURRENT_HOST, this one's. SageMaker's
own images set these; in any other image TRAINING_JOB_NAME is set, and a file has the same. Each instance
runs one task. SageMaker sets TF_CONFIG itself where a job asks it to, which then comes first.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from strategies.cluster import alone, roles, tf_config
from strategies.cluster.spec import ClusterSpec

SOURCE = "SageMaker"
_HOSTS, _CURRENT, _JOB = "SM_HOSTS", "SM_CURRENT_HOST", "TRAINING_JOB_NAME"
_FILE = pathlib.Path("/opt/ml/input/config/resourceconfig.json")
_PORT = 2222  # As in SageMaker's own TF_CONFIG.
_FIX = "set it as SageMaker does, or use --cluster"


def read(environ: Mapping[str, str], ps: int) -> ClusterSpec | None:
    """The cluster; None where this is no job of several instances. Raises ClusterError."""
    hosts: Any
    current: Any
    if environ.get(_HOSTS, "").strip():
        hosts, current = _json(environ[_HOSTS]), environ.get(_CURRENT, "")
        of_hosts, of_current = f"`{_HOSTS}`", f"`{_CURRENT}`"
    elif environ.get(_JOB) and _FILE.is_file():
        found = _json(_FILE.read_text(encoding="utf-8", errors="replace"))
        found = found if isinstance(found, dict) else {}
        hosts, current = found.get("hosts"), found.get("current_host")
        of_hosts, of_current = f"`hosts` in {_FILE}", "`current_host`"
    else:
        return None
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        received = environ.get(_HOSTS) or hosts
        raise alone.error(SOURCE, f"{of_hosts} must be a JSON list of names", received, _FIX)
    if len(hosts) < 2:
        return None
    if hosts.count(current) != 1:
        problem = f"{of_current} must be one of the names in {of_hosts}"
        raise alone.error(SOURCE, problem, [current, *hosts], _FIX)
    jobs = roles.jobs([f"{host}:{_PORT}" for host in hosts], ps, SOURCE)
    task = roles.task_at(jobs, hosts.index(current))
    return tf_config.from_dict({"cluster": jobs, "task": task}, SOURCE)


def _json(text: str) -> Any:
    """What the text says; None where it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
