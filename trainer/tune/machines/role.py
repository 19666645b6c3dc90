"""Which role does this process have in the sweep?

In a sweep across machines one task is the server, which assigns the trials, and the others are clients,
which run them. `SweepCluster.find` reads the role from keras-tuner's environment variables, or as for
training from TF_CONFIG, `--cluster` or Slurm. The chief is a server that runs no trials. In a cluster of
workers only, worker 0 is the server and runs trials too. A process with keras-tuner's address of the
chief but no name is a client, named after its host.
"""

import dataclasses
import os
import re
import socket
from collections.abc import Mapping

from strategies.cluster import resolve, tf_config
from strategies.cluster.flags import ClusterFlags
from strategies.cluster.spec import TF_CONFIG, ClusterSpec, Task, split_address
from strategies.errors import ClusterError
from trainer.config.fields import brief

SINGLE, SERVER, LEADER, CLIENT = "single", "server", "leader", "client"
NAME, HOST, PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"
NAME_PATTERN = re.compile(r"[A-Za-z0-9_.:@-]{1,64}")
_CHIEF_PATTERN = re.compile(r"(.*[^A-Za-z])?chief[^A-Za-z]*")
_EXAMPLE = f"{NAME}=chief {HOST}=10.0.0.1 {PORT}=9000"


@dataclasses.dataclass(frozen=True)
class SweepCluster:
    """The role of this process, and the sweep's server.

    Attributes:
      role: SINGLE, SERVER, LEADER (a server that runs trials too) or CLIENT.
      name: the name of this process.
      address: host:port of the server.
      source: where the cluster is defined. It is ignored in comparisons, as `clients` is.
      clients: the names of all clients, if they are known.
    """

    role: str = SINGLE
    name: str = ""
    address: str = ""
    source: str = dataclasses.field(default="", compare=False)
    clients: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @classmethod
    def find(cls, flags: ClusterFlags, environ: Mapping[str, str] = os.environ) -> "SweepCluster":
        """The role from flags and environment. Without either, the sweep has a single machine.

        Raises:
          ClusterError: they do not define a sweep, or two of them are both set.
        """
        given = {name: environ[name] for name in (NAME, HOST, PORT) if environ.get(name)}
        if given:  # They take precedence over Slurm, as all explicit settings do.
            _check_no_other(given, flags, tf_config.from_env(environ))
            return _from_keras_tuner(given, socket.gethostname())
        return _from_cluster(resolve.find(flags, environ))

    @property
    def is_server(self) -> bool:
        return self.role in (SERVER, LEADER)

    @property
    def runs_trials(self) -> bool:
        return self.role != SERVER

    def __str__(self) -> str:
        return {
            SINGLE: "a sweep on a single machine",
            SERVER: f"the sweep's server at {self.address}",
            LEADER: f"the sweep's server at {self.address}, which runs trials too",
            CLIENT: f"client {self.name} of the sweep's server at {self.address}",
        }[self.role]


def _check_no_other(given: Mapping[str, str], flags: ClusterFlags, cluster: ClusterSpec) -> None:
    others = {f"--{flag}": brief(value) for flag, value in vars(flags).items() if value}
    if not cluster.is_alone or cluster.is_evaluator:
        others[TF_CONFIG] = f"a TF_CONFIG for {cluster.task}"
    for other, shown in others.items():
        raise ClusterError(
            f"{min(given)} and {other} must not both be set, as each defines the sweep's cluster. "
            f"Received: {brief(given[min(given)])} and {shown}; remove one."
        )


def _from_keras_tuner(given: Mapping[str, str], hostname: str) -> SweepCluster:
    if given.keys() == {HOST, PORT}:  # For containers that are all started in the same way.
        return SweepCluster(CLIENT, hostname, _address(given[HOST], given[PORT]))
    for name in (NAME, HOST, PORT):
        if name not in given:
            raise ClusterError(
                f"{name} is missing. Received: {' and '.join(sorted(given))}; set all three, as in "
                f"{_EXAMPLE}, or none to sweep on a single machine."
            )
    name, address = given[NAME], _address(given[HOST], given[PORT])
    return SweepCluster(SERVER if _is_chief(name) else CLIENT, name, address)


def _is_chief(name: str) -> bool:
    if not NAME_PATTERN.fullmatch(name):
        raise ClusterError(
            f"{NAME} must be at most 64 letters, digits and any of _ . : @ -. "
            f"Received: {brief(name)}; try chief, or client-1."
        )
    if "chief" in name.lower() and not _CHIEF_PATTERN.fullmatch(name):
        raise ClusterError(
            f'{NAME} must have "chief" in it only for the sweep\'s server, and then as its last word. '
            f'Received: {brief(name)}; write chief, or name a client without "chief".'
        )
    return "chief" in name


def _address(host: str, port: str) -> str:
    """The two as host:port. Each is checked separately, so that the error names the right one."""
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    for name, value, text, fix in (
        (HOST, host, f"{host}:1", "write an address or a name, as in 10.0.0.1"),
        (PORT, port, f"a:{port}", "write a port from 1 to 65535, as in 9000"),
    ):
        try:
            split_address(text)
        except ValueError:
            what = "a host" if name == HOST else "a port"
            raise ClusterError(f"{name} must be {what}. Received: {brief(value)}; {fix}.") from None
    return f"{host}:{port}"


def _from_cluster(cluster: ClusterSpec) -> SweepCluster:
    if cluster.has_ps or cluster.is_evaluator:
        job = "ps" if cluster.has_ps else "evaluator"
        raise ClusterError(
            f"{cluster.source}: a sweep must have only workers, which run the trials, and optionally a "
            f"chief, which assigns them. Received: {cluster}; remove the {job}, and use "
            "--workers_per_trial and --ps_per_trial for the cluster of each trial."
        )
    if cluster.is_alone:
        return SweepCluster()
    role, name = CLIENT, _name(cluster.task)
    if cluster.is_leader:
        role = SERVER if cluster.task.type == "chief" else LEADER
    clients = tuple(_name(task) for task in cluster.tasks() if task != cluster.leader)
    return SweepCluster(role, name, cluster.address(cluster.leader), cluster.source, clients)


def _name(task: Task) -> str:
    return "chief" if task.type == "chief" else f"worker-{task.index}"
