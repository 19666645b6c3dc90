"""What do the pods of a manifest's Job run, and how do they run as processes of this machine?"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from strategies import hostlist, places
from strategies.cluster import ClusterSpec
from trainer import cli, launch

_CLUSTER, _SECRET, _RUNS = "--cluster=", "/secret/secret", "/workspace/runs"
_HOST, _PORT = "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"


@dataclasses.dataclass(frozen=True)
class Pod:
    """The arguments and the environment of its container."""

    args: Sequence[str]
    environ: Mapping[str, str]


def of(job: Mapping[str, Any]) -> list[Pod]:
    """The pods that Kubernetes' Job controller makes of a Job, as far as they differ."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    found = []
    for index in range(job["spec"]["completions"]):
        name = f"{job['metadata']['name']}-{index}-x7k2p"
        environ = {one["name"]: _value(one, name, container) for one in container.get("env", [])}
        if job["spec"].get("completionMode") == "Indexed":
            environ["JOB_COMPLETION_INDEX"] = str(index)
        found.append(Pod(container["args"], environ))
    return found


def _value(variable: Mapping[str, Any], pod: str, container: Mapping[str, Any]) -> str:
    if "value" in variable:
        return variable["value"]
    (kind, source), *_ = variable["valueFrom"].items()
    if kind == "fieldRef":
        return {"metadata.name": pod}[source["fieldPath"]]
    assert kind == "resourceFieldRef"
    bound, what = source["resource"].split(".")
    return container["resources"][bound][what]


def cluster_of(pod: Pod) -> ClusterSpec:
    return places.find(cli.parse(pod.args).asked, pod.environ)


def addresses(pod: Pod) -> list[str]:
    """What its --cluster lists."""
    return hostlist.expand(cli.parse(pod.args).cluster)


def here(pods: Sequence[Pod], folder: pathlib.Path) -> list[Pod]:
    """The same pods with loopback addresses, and folders of this machine in place of volumes."""
    (folder / "secret").write_text("a secret of some length")
    ports = launch.free_ports(len(pods))
    local = ",".join(f"127.0.0.1:{port}" for port in ports)

    def moved(arg: str) -> str:
        if arg.startswith(_CLUSTER):
            return _CLUSTER + local
        return arg.replace(_SECRET, str(folder / "secret")).replace(_RUNS, str(folder / "runs"))

    chief = {_HOST: "127.0.0.1", _PORT: str(ports[0])}
    return [
        Pod(
            [moved(arg) for arg in pod.args],
            dict(pod.environ) | (chief if _HOST in pod.environ else {}),
        )
        for pod in pods
    ]
