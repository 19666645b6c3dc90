"""Which part of the sweep is this process?

A sweep across machines has a chief, which hands out the trials and runs none, and clients. They learn
their parts from keras-tuner's environment variables, or from a TF_CONFIG with a chief and workers. Who is
given the address of a chief and no name of its own is a client, named after its host.
"""

import dataclasses
import json
import os
import re
import socket
from collections.abc import Mapping

from strategies.cluster import ClusterSpec, split_address
from strategies.errors import ClusterError
from trainer.fields import brief

ALONE, CHIEF, CLIENT = "alone", "chief", "client"
NAME, HOST, PORT = "KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"
IS_NAME = re.compile(r"[A-Za-z0-9_.:@-]{1,64}")
_IS_CHIEF = re.compile(r"(.*[^A-Za-z])?chief[^A-Za-z]*")
_EXAMPLE = f"{NAME}=chief {HOST}=10.0.0.1 {PORT}=9000"


@dataclasses.dataclass(frozen=True)
class SweepCluster:
    """`role` is "alone", "chief" or "client"; `address` is the chief's, host:port, for both."""

    role: str = ALONE
    name: str = ""
    address: str = ""

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> "SweepCluster":
        """The part that the environment gives to this process; alone where it says nothing of it.

        Raises:
          ClusterError: what it says makes no sweep.
        """
        given = {name: environ[name] for name in (NAME, HOST, PORT) if environ.get(name)}
        cluster = ClusterSpec.from_env(environ)
        from_tf_config = _of_tf_config(cluster, environ)
        if given and from_tf_config.role != ALONE:
            raise ClusterError(
                f"{min(given)} and TF_CONFIG must not both say which part of a sweep this is. "
                f"Received: {brief(given[min(given)])} and a TF_CONFIG for {cluster.task}; unset one."
            )
        return _of_keras_tuner(given, socket.gethostname()) if given else from_tf_config

    def __str__(self) -> str:
        if self.role == ALONE:
            return "a sweep on this machine alone"
        if self.role == CHIEF:
            return f"chief of a sweep, at {self.address}"
        return f"client {self.name} of the sweep's chief at {self.address}"


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
    if _is_chief(name):
        return SweepCluster(CHIEF, name, address)
    return SweepCluster(CLIENT, name, address)


def _is_chief(name: str) -> bool:
    if not IS_NAME.fullmatch(name):
        raise ClusterError(
            f"{NAME} must be at most 64 letters, digits and any of _ . : @ -. "
            f"Received: {brief(name)}; try chief, or client-1."
        )
    if "chief" in name.lower() and not _IS_CHIEF.fullmatch(name):
        raise ClusterError(
            f'{NAME} makes a process the chief where it has "chief" in it. Received: {brief(name)}, '
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
                f"{name} must be {what}. Received: {brief(value)}; {way_out}."
            ) from None
    return f"{host}:{port}"


def _of_tf_config(cluster: ClusterSpec, environ: Mapping[str, str]) -> SweepCluster:
    if not cluster.jobs and not cluster.is_evaluator:
        return SweepCluster()
    jobs = json.loads(environ["TF_CONFIG"])["cluster"]
    for job in ("ps", "evaluator"):
        if job in jobs or cluster.task.type == job:
            raise ClusterError(
                f"TF_CONFIG: a sweep has no {job}, but a chief that hands out the trials and workers "
                f"that run them. Received: {brief(jobs)}; take it out, as --workers_per_trial and "
                "--ps_per_trial give each trial a cluster of its own."
            )
    if cluster.is_alone:
        return SweepCluster()
    if "chief" not in jobs:
        raise ClusterError(
            "TF_CONFIG: a sweep across machines needs a `chief` that hands out the trials. "
            f'Received: {brief(jobs)}; add "chief": ["host:port"], or unset TF_CONFIG to sweep on this '
            "machine alone."
        )
    address = cluster.address(cluster.leader)
    if cluster.is_leader:
        return SweepCluster(CHIEF, "chief", address)
    return SweepCluster(CLIENT, f"worker-{cluster.task.index}", address)
