"""What do the pods of a manifest's Job run?

`of` lists them as the Job controller would create them, and `here` makes them runnable as processes of
this machine.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from strategies.cluster import hostlist, resolve
from strategies.cluster.spec import ClusterSpec
from trainer.cli import parser as cli_parser
from trainer.cli.option_groups import ClusterOptions
from trainer.launch import ports

_CLUSTER, _SECRET, _RUNS = "--cluster=", "/secret/secret", "/workspace/runs"


@dataclasses.dataclass(frozen=True)
class Pod:
    """The arguments and the environment variables of the pod's container."""

    args: Sequence[str]
    environ: Mapping[str, str]


def of(job: Mapping[str, Any]) -> list[Pod]:
    """The pods that Kubernetes' Job controller creates for a Job, with what differs between them."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    found = []
    for index in range(job["spec"]["completions"]):
        environ = {one["name"]: _value(one, container) for one in container.get("env", [])}
        if job["spec"].get("completionMode") == "Indexed":
            environ["JOB_COMPLETION_INDEX"] = str(index)
        found.append(Pod(container["args"], environ))
    return found


def _value(variable: Mapping[str, Any], container: Mapping[str, Any]) -> str:
    if "value" in variable:
        return variable["value"]
    ((kind, source),) = variable["valueFrom"].items()
    assert kind == "resourceFieldRef"
    bound, what = source["resource"].split(".")
    return container["resources"][bound][what]


def cluster_of(pod: Pod) -> ClusterSpec:
    return resolve.find(_options(pod).cluster_flags, pod.environ)


def addresses(pod: Pod) -> list[str]:
    """The addresses in its --cluster."""
    return hostlist.expand(_options(pod).cluster)


def _options(pod: Pod) -> ClusterOptions:
    """Those of a task, which a pod of `launch` or `evaluate` does not have."""
    options = cli_parser.parse(pod.args)
    assert isinstance(options, ClusterOptions)
    return options


def here(pods: Sequence[Pod], folder: pathlib.Path) -> list[Pod]:
    """The same pods with loopback addresses, and with folders of this machine instead of volumes."""
    (folder / "secret").write_text("a secret of some length")
    local = ",".join(f"127.0.0.1:{port}" for port in ports.free_ports(len(pods)))

    def moved(arg: str) -> str:
        if arg.startswith(_CLUSTER):
            return _CLUSTER + local
        return arg.replace(_SECRET, str(folder / "secret")).replace(_RUNS, str(folder / "runs"))

    return [Pod([moved(arg) for arg in pod.args], pod.environ) for pod in pods]
