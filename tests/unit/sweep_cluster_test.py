"""The environment of a sweep's processes, and the exact message for what makes no sweep."""

import json
import socket

import pytest

from strategies.errors import ClusterError
from trainer.sweep.machines.part import SweepCluster


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


SWEEP = {"chief": ["c:1"], "worker": ["a:1", "b:2"]}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        kt("", "", ""),
        {"TF_CONFIG": "{}"},
        tf({"worker": ["a:1"]}),
        tf({"chief": ["a:1"]}, "chief"),
    ],
)
def test_without_other_tasks_a_sweep_is_alone(environ):
    assert SweepCluster.from_env(environ) == SweepCluster("alone", "", "")


@pytest.mark.parametrize(
    "environ, part",
    [
        (kt(), ("chief", "chief", "10.0.0.1:9000")),
        (kt("tuner-chief-0"), ("chief", "tuner-chief-0", "10.0.0.1:9000")),
        (kt("tuner0", "host-c"), ("client", "tuner0", "host-c:9000")),
        (kt("", "host-c"), ("client", socket.gethostname(), "host-c:9000")),
        (kt("tuner0", "fd00::1"), ("client", "tuner0", "[fd00::1]:9000")),
        (kt("tuner0", "[fd00::1]"), ("client", "tuner0", "[fd00::1]:9000")),
        (kt() | tf({"worker": ["a:1"]}), ("chief", "chief", "10.0.0.1:9000")),
        (tf(SWEEP, "chief"), ("chief", "chief", "c:1")),
        (tf(SWEEP, "worker", 1), ("client", "worker-1", "c:1")),
    ],
)
def test_the_part_is_that_of_keras_tuner_or_of_tf_config(environ, part):
    assert SweepCluster.from_env(environ) == SweepCluster(*part)


WITHOUT = (
    "take it out, as --workers_per_trial and --ps_per_trial give each trial a cluster of its own."
)


@pytest.mark.parametrize(
    "environ, message",
    [
        (
            kt(port=None),
            "KERASTUNER_ORACLE_PORT is missing. Received: KERASTUNER_ORACLE_IP and "
            "KERASTUNER_TUNER_ID; set all three, as in KERASTUNER_TUNER_ID=chief "
            "KERASTUNER_ORACLE_IP=10.0.0.1 KERASTUNER_ORACLE_PORT=9000, or none to sweep on this machine "
            "alone.",
        ),
        (
            kt(name="", host=None),
            "KERASTUNER_TUNER_ID is missing. Received: KERASTUNER_ORACLE_PORT; set all three, as in "
            "KERASTUNER_TUNER_ID=chief KERASTUNER_ORACLE_IP=10.0.0.1 KERASTUNER_ORACLE_PORT=9000, or "
            "none to sweep on this machine alone.",
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
                f'KERASTUNER_TUNER_ID makes a process the chief where it has "chief" in it. Received: '
                f'"{name}", which may be meant or not; write chief, or name a client without that word.',
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
            "KERASTUNER_ORACLE_IP and TF_CONFIG must not both say which part of a sweep this is. "
            'Received: "10.0.0.1" and a TF_CONFIG for chief 0; unset one.',
        ),
        (
            tf({"worker": ["a:1", "b:2"]}),
            "TF_CONFIG: a sweep across machines needs a `chief` that hands out the trials. Received: "
            '{"worker": ["a:1", "b:2"]}; add "chief": ["host:port"], or unset TF_CONFIG to sweep on this '
            "machine alone.",
        ),
        (
            tf({"chief": ["c:1"], "worker": ["a:1"], "ps": ["p:1"]}, "ps"),
            "TF_CONFIG: a sweep has no ps, but a chief that hands out the trials and workers that run "
            'them. Received: {"chief": ["c:1"], "worker": ["a:1"], "ps": ["p:1"]}; ' + WITHOUT,
        ),
        (
            tf({"chief": ["c:1"], "worker": ["a:1"]}, "evaluator"),
            "TF_CONFIG: a sweep has no evaluator, but a chief that hands out the trials and workers that "
            'run them. Received: {"chief": ["c:1"], "worker": ["a:1"]}; ' + WITHOUT,
        ),
        (
            tf({"chief": ["c:1"], "evaluator": ["e:1"]}, "chief"),
            "TF_CONFIG: a sweep has no evaluator, but a chief that hands out the trials and workers that "
            'run them. Received: {"chief": ["c:1"], "evaluator": ["e:1"]}; ' + WITHOUT,
        ),
    ],
)
def test_a_mistake_is_told_with_what_was_received_and_a_way_out(environ, message):
    with pytest.raises(ClusterError) as caught:
        SweepCluster.from_env(environ)
    assert str(caught.value) == message


def test_a_tf_config_that_is_none_is_refused_as_by_training():
    with pytest.raises(ClusterError, match="TF_CONFIG: must be JSON"):
        SweepCluster.from_env({"TF_CONFIG": "{"})


def test_a_part_reads_as_a_sentence():
    assert [str(SweepCluster(role, "a", "c:1")) for role in ("alone", "chief", "client")] == [
        "a sweep on this machine alone",
        "chief of a sweep, at c:1",
        "client a of the sweep's chief at c:1",
    ]
