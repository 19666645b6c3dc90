"""Which part of the sweep is this process?

A sweep across machines has one task that hands out the trials, and others that run them. They learn
their parts from keras-tuner's environment variables, or as tasks that train together do: from TF_CONFIG,
`--cluster` or Slurm. A chief hands out and runs none. Where all are workers, worker 0 hands out and runs
trials too, as in training it leads and trains. Who is given keras-tuner's address of a chief and no name
of its own is a client, named after its host.
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
from trainer.config.fields import short_json

ALONE, CHIEF, LEADER, CLIENT = "alone", "chief", "leader", "client"
NAME, HOST, PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"
IS_NAME = re.compile(r"[A-Za-z0-9_.:@-]{1,64}")
_IS_CHIEF = re.compile(r"(.*[^A-Za-z])?chief[^A-Za-z]*")
_EXAMPLE = f"{NAME}=chief {HOST}=10.0.0.1 {PORT}=9000"


@dataclasses.dataclass(frozen=True)
class SweepCluster:
    """`role` is one of the above; `address` is that of who hands out the trials, host:port, for all.

    `source` is where this was said, and makes no difference. `clients` are the names of all of them, where
    they are known.
    """

    role: str = ALONE
    name: str = ""
    address: str = ""
    source: str = dataclasses.field(default="", compare=False)
    clients: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @classmethod
    def find(cls, asked: ClusterFlags, environ: Mapping[str, str] = os.environ) -> "SweepCluster":
        """The part that flags and environment give to this process; alone where none says anything.

        Raises:
          ClusterError: what they say makes no sweep, or two contradict each other.
        """
        given = {name: environ[name] for name in (NAME, HOST, PORT) if environ.get(name)}
        if given:  # Slurm gives way to them, as it does to all that was written down.
            _refuse_two(given, asked, tf_config.from_env(environ))
            return _of_keras_tuner(given, socket.gethostname())
        return _of_cluster(resolve.find(asked, environ))

    @property
    def hands_out(self) -> bool:
        return self.role in (CHIEF, LEADER)

    @property
    def runs_trials(self) -> bool:
        return self.role != CHIEF

    def __str__(self) -> str:
        return {
            ALONE: "a sweep on this machine alone",
            CHIEF: f"chief of a sweep, at {self.address}",
            LEADER: f"chief of a sweep, at {self.address}, which runs trials too",
            CLIENT: f"client {self.name} of the sweep's chief at {self.address}",
        }[self.role]


def _refuse_two(given: Mapping[str, str], asked: ClusterFlags, written: ClusterSpec) -> None:
    flags = {f"--{flag}": short_json(value) for flag, value in vars(asked).items() if value}
    if not written.is_single_task or written.is_evaluator:
        flags[TF_CONFIG] = f"a TF_CONFIG for {written.task}"
    for other, shown in flags.items():
        raise ClusterError(
            f"{min(given)} and {other} must not both say which part of a sweep this is. Received: "
            f"{short_json(given[min(given)])} and {shown}; leave one out."
        )


def _of_keras_tuner(given: Mapping[str, str], hostname: str) -> SweepCluster:
    if given.keys() == {HOST, PORT}:  # As for containers that are all started alike.
        return SweepCluster(CLIENT, hostname, _address(given[HOST], given[PORT]))
    for name in (NAME, HOST, PORT):
        if name not in given:
            raise ClusterError(
                f"{name} is missing. Received: {' and '.join(sorted(given))}; set all three, as in "
                f"{_EXAMPLE}, or none to sweep on this machine alone."
            )
    name, address = given[NAME], _address(given[HOST], given[PORT])
    return SweepCluster(CHIEF if _is_chief(name) else CLIENT, name, address)


def _is_chief(name: str) -> bool:
    if not IS_NAME.fullmatch(name):
        raise ClusterError(
            f"{NAME} must be at most 64 letters, digits and any of _ . : @ -. "
            f"Received: {short_json(name)}; try chief, or client-1."
        )
    if "chief" in name.lower() and not _IS_CHIEF.fullmatch(name):
        raise ClusterError(
            f'{NAME} makes a process the chief where it has "chief" in it. Received: {short_json(name)}, '
            "which may be meant or not; write chief, or name a client without that word."
        )
    return "chief" in name


def _address(host: str, port: str) -> str:
    """The two as host:port. Each is looked at alone, so that the error names the right one."""
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    for name, value, text, way_out in (
        (HOST, host, f"{host}:1", "write an address or a name, as in 10.0.0.1"),
        (PORT, port, f"a:{port}", "write a port from 1 to 65535, as in 9000"),
    ):
        try:
            split_address(text)
        except ValueError:
            what = "a host" if name == HOST else "a port"
            raise ClusterError(
                f"{name} must be {what}. Received: {short_json(value)}; {way_out}."
            ) from None
    return f"{host}:{port}"


def _of_cluster(cluster: ClusterSpec) -> SweepCluster:
    if cluster.has_ps or cluster.is_evaluator:
        job = "ps" if cluster.has_ps else "evaluator"
        raise ClusterError(
            f"{cluster.source}: a sweep has no {job}, but workers that run the trials, and if you like a "
            f"chief that hands them out. Received: {cluster}; take it out, as --workers_per_trial and "
            "--ps_per_trial give each trial a cluster of its own."
        )
    if cluster.is_single_task:
        return SweepCluster()
    role, name = CLIENT, _name(cluster.task)
    if cluster.is_leader:
        role = CHIEF if cluster.task.type == "chief" else LEADER
    clients = tuple(_name(task) for task in cluster.tasks() if task != cluster.leader)
    return SweepCluster(role, name, cluster.address(cluster.leader), cluster.source, clients)


def _name(task: Task) -> str:
    return "chief" if task.type == "chief" else f"worker-{task.index}"
