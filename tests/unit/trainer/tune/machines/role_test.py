"""Which role do flags and environment define, and which exact errors do invalid ones raise?"""

import json
import socket

import pytest

from strategies.cluster.flags import ClusterFlags
from strategies.errors import ClusterError
from trainer.tune.machines.role import SweepCluster


def kt(name="chief", host="10.0.0.1", port="9000"):
    given = {
        "KERASTUNER_TUNER_ID": name,
        "KERASTUNER_ORACLE_IP": host,
        "KERASTUNER_ORACLE_PORT": port,
    }
    return {variable: value for variable, value in given.items() if value is not None}


def tf(cluster, task_type="worker", index=0):
    task = {"type": task_type, "index": index}
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}


def found(environ, cluster="", task=""):
    return SweepCluster.find(ClusterFlags(cluster, task), environ)


SWEEP = {"chief": ["c:1"], "worker": ["a:1", "b:2"]}
WORKERS = {"worker": ["a:1", "b:2"]}
STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "n[9-10]",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
}
FIRST_IN_STEP = "n9:10896"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        kt("", "", ""),
        {"TF_CONFIG": "{}"},
        tf({"worker": ["a:1"]}),
        tf({"chief": ["a:1"]}, "chief"),
        tf({"chief": ["c:1"], "evaluator": ["e:1"]}, "chief"),
        STEP | {"SLURM_STEP_NUM_TASKS": "1"},
        STEP | {"TF_CONFIG": "{}"},
        {"JOB_COMPLETION_INDEX": "1"},
    ],
)
def test_without_other_tasks_a_sweep_has_a_single_machine(environ):
    assert found(environ) == SweepCluster("single", "", "")


@pytest.mark.parametrize(
    "environ, role",
    [
        (kt(), ("server", "chief", "10.0.0.1:9000")),
        (kt("tuner-chief-0"), ("server", "tuner-chief-0", "10.0.0.1:9000")),
        (kt("tuner0", "host-c"), ("client", "tuner0", "host-c:9000")),
        (kt("", "host-c"), ("client", socket.gethostname(), "host-c:9000")),
        (kt("tuner0", "fd00::1"), ("client", "tuner0", "[fd00::1]:9000")),
        (kt("tuner0", "[fd00::1]"), ("client", "tuner0", "[fd00::1]:9000")),
        (kt() | tf({"worker": ["a:1"]}), ("server", "chief", "10.0.0.1:9000")),
        (tf(SWEEP, "chief"), ("server", "chief", "c:1")),
        (tf(SWEEP, "worker", 1), ("client", "worker-1", "c:1")),
        (tf(WORKERS, "worker", 0), ("leader", "worker-0", "a:1")),
        (tf(WORKERS, "worker", 1), ("client", "worker-1", "a:1")),
        (STEP, ("client", "worker-1", FIRST_IN_STEP)),
        (STEP | {"SLURM_PROCID": "0"}, ("leader", "worker-0", FIRST_IN_STEP)),
        (STEP | kt("tuner0", "host-c"), ("client", "tuner0", "host-c:9000")),
        (STEP | {"SLURM_PROCID": "x"} | kt(), ("server", "chief", "10.0.0.1:9000")),
        (STEP | tf(SWEEP, "chief"), ("server", "chief", "c:1")),
    ],
)
def test_the_role_is_from_keras_tuners_variables_or_from_the_cluster(environ, role):
    assert found(environ) == SweepCluster(*role)


@pytest.mark.parametrize(
    "cluster, task, environ, role",
    [
        ("worker=a:1,b:2", "worker:0", {}, ("leader", "worker-0", "a:1")),
        ("worker=a:1,b:2", "worker:1", STEP, ("client", "worker-1", "a:1")),
        ("chief=c:1;worker=a:1,b:2", "worker:1", {}, ("client", "worker-1", "c:1")),
        ("chief=c:1;worker=a:1,b:2", "chief:0", {}, ("server", "chief", "c:1")),
        ("m-[0-2].m:1", "", {"JOB_COMPLETION_INDEX": "0"}, ("leader", "worker-0", "m-0.m:1")),
        ("m-[0-2].m:1", "", {"JOB_COMPLETION_INDEX": "2"}, ("client", "worker-2", "m-0.m:1")),
        ("192.0.2.1:1,127.0.0.1:1", "", {}, ("client", "worker-1", "192.0.2.1:1")),
    ],
)
def test_the_role_can_be_from_the_flags_of_training(cluster, task, environ, role):
    assert found(environ, cluster, task) == SweepCluster(*role)


def test_without_a_chief_worker_0_is_the_server_and_every_worker_runs_trials():
    roles = [found(tf(WORKERS, "worker", index)) for index in range(2)]
    assert [(one.is_server, one.runs_trials) for one in roles] == [(True, True), (False, True)]
    chief = found(tf(SWEEP, "chief"))
    assert chief.is_server and not chief.runs_trials
    assert not SweepCluster().is_server and SweepCluster().runs_trials


def test_the_server_knows_the_clients_of_its_cluster():
    assert found(tf(SWEEP, "chief")).clients == ("worker-0", "worker-1")
    assert found(STEP | {"SLURM_PROCID": "0"}).clients == ("worker-1",)
    assert found(kt()).clients == ()


RULE = (
    "a sweep must have only workers, which run the trials, and optionally a chief, which assigns them. "
    "Received: "
)
FIX = "and use --workers_per_trial and --ps_per_trial for the cluster of each trial."


@pytest.mark.parametrize(
    "environ, message",
    [
        (
            kt(port=None),
            "KERASTUNER_ORACLE_PORT is missing. Received: KERASTUNER_ORACLE_IP and "
            "KERASTUNER_TUNER_ID; set all three, as in KERASTUNER_TUNER_ID=chief "
            "KERASTUNER_ORACLE_IP=10.0.0.1 KERASTUNER_ORACLE_PORT=9000, or none to sweep on a single "
            "machine.",
        ),
        (
            kt(name="", host=None),
            "KERASTUNER_TUNER_ID is missing. Received: KERASTUNER_ORACLE_PORT; set all three, as in "
            "KERASTUNER_TUNER_ID=chief KERASTUNER_ORACLE_IP=10.0.0.1 KERASTUNER_ORACLE_PORT=9000, or "
            "none to sweep on a single machine.",
        ),
        *(
            (
                kt(port=port),
                f'KERASTUNER_ORACLE_PORT must be a port. Received: "{port}"; write a port from 1 to '
                "65535, as in 9000.",
            )
            for port in ("0", "65536", "-1", "9000 ", "http")
        ),
        *(
            (
                kt(host=host),
                f"KERASTUNER_ORACLE_IP must be a host. Received: {json.dumps(shown)}; write an address "
                "or a name, as in 10.0.0.1.",
            )
            for host, shown in (("a b", "a b"), ("fd00::x", "[fd00::x]"), ("a:1", "[a:1]"))
        ),
        *(
            (
                kt(name),
                'KERASTUNER_TUNER_ID must have "chief" in it only for the sweep\'s server, and then as '
                f'its last word. Received: "{name}"; write chief, or name a client without "chief".',
            )
            for name in ("chief-ish", "mischief", "Chief", "chiefs", "my-chief-pod-x7")
        ),
        (
            kt("a b"),
            "KERASTUNER_TUNER_ID must be at most 64 letters, digits and any of _ . : @ -. Received: "
            '"a b"; try chief, or client-1.',
        ),
        (
            kt() | tf(SWEEP, "chief"),
            "KERASTUNER_ORACLE_IP and TF_CONFIG must not both be set, as each defines the sweep's "
            'cluster. Received: "10.0.0.1" and a TF_CONFIG for chief 0; remove one.',
        ),
        (
            tf({"chief": ["c:1"], "worker": ["a:1"], "ps": ["p:1"]}, "ps"),
            f"TF_CONFIG: {RULE}ps 0 in a cluster of 1 chief, 1 worker and 1 ps; remove the ps, {FIX}",
        ),
        (
            tf({"chief": ["c:1"], "worker": ["a:1"]}, "evaluator"),
            f"TF_CONFIG: {RULE}evaluator 0 in a cluster of 1 chief and 1 worker; remove the evaluator, "
            + FIX,
        ),
    ],
)
def test_an_error_has_what_was_received_and_how_to_fix_it(environ, message):
    with pytest.raises(ClusterError) as caught:
        found(environ)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "cluster, task, message",
    [
        (
            "worker=a:1,b:1",
            "",
            "KERASTUNER_ORACLE_IP and --cluster must not both be set, as each defines the sweep's "
            'cluster. Received: "10.0.0.1" and "worker=a:1,b:1"; remove one.',
        ),
        (
            "",
            "worker:1",
            "KERASTUNER_ORACLE_IP and --task must not both be set, as each defines the sweep's "
            'cluster. Received: "10.0.0.1" and "worker:1"; remove one.',
        ),
    ],
)
def test_keras_tuners_variables_and_flags_exclude_each_other(cluster, task, message):
    with pytest.raises(ClusterError) as caught:
        found(kt(), cluster, task)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "environ, cluster, message",
    [
        (
            {},
            "chief=c:1;worker=a:1;ps=p:1",
            "--cluster: a sweep must have only workers, which run the trials, ",
        ),
        (
            tf(WORKERS),
            "a:1,b:2",
            "`--cluster` and TF_CONFIG must not both say which cluster this is.",
        ),
        ({}, "workers=a:1", "`--cluster` knows the jobs chief, worker, ps, evaluator."),
        (STEP | {"SLURM_PROCID": "x"}, "", "Slurm: `SLURM_PROCID` must be a number."),
    ],
)
def test_a_sweep_refuses_the_clusters_that_training_refuses(environ, cluster, message):
    with pytest.raises(ClusterError) as caught:
        found(environ, cluster, "worker:0" if cluster else "")
    assert str(caught.value).startswith(message)


def test_an_invalid_tf_config_is_refused_as_in_training():
    with pytest.raises(ClusterError, match="TF_CONFIG: must be JSON"):
        found({"TF_CONFIG": "{"})


def test_a_role_is_described_for_people():
    roles = ("single", "server", "leader", "client")
    assert [str(SweepCluster(role, "a", "c:1")) for role in roles] == [
        "a sweep on a single machine",
        "the sweep's server at c:1",
        "the sweep's server at c:1, which runs trials too",
        "client a of the sweep's server at c:1",
    ]
