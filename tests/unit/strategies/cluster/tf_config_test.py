"""Which cluster does each TF_CONFIG define, and what is the exact error where it is invalid?"""

import json
import pickle
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.cluster import tf_config
from strategies.cluster.spec import ClusterSpec, Task, split_address
from strategies.cluster.tf_config import EXAMPLE
from strategies.errors import ClusterError

WORKERS = {"worker": ["a:1", "b:2"]}
PS = {"ps": ["p:1"], "worker": ["a:1", "b:2"], "chief": ["c:1"]}


def text_of(cluster, task_type="worker", index=0):
    return json.dumps({"cluster": cluster, "task": {"type": task_type, "index": index}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "{}",
        '{"cluster": {}, "task": {"type": "worker", "index": 0}}',
        '{"task": {"type": "chief", "index": 0}}',
        '{"environment": "cloud", "cluster": {}, "job": {"job_name": "j"}, "task": {}}',
        '{"cluster": {"worker": [], "ps": []}, "task": {"type": "", "index": "0"}}',
        '{"cluster": null}',
    ],
)
def test_a_tf_config_without_tasks_means_a_single_task(text):
    cluster = tf_config.from_env({"TF_CONFIG": text})
    assert cluster == tf_config.from_env({}) == ClusterSpec()
    assert cluster.is_single_task and cluster.is_leader and not cluster.has_ps
    assert cluster.tasks() == cluster.trainers() == [Task("worker", 0)]
    assert cluster.process_index == 0
    assert str(cluster) == "single task, no cluster in TF_CONFIG"


def test_a_cluster_may_have_a_single_task():
    cluster = tf_config.parse(text_of({"worker": ["a:1"]}))
    assert cluster.is_single_task and cluster.is_leader
    assert str(cluster) == "worker 0, the only task of its cluster"


@pytest.mark.parametrize(
    "cluster, task",
    [
        ({**PS, "evaluator": []}, {"type": "worker", "index": "1"}),
        ({"master": ["c:1"], "worker": ["a:1", "b:2"], "ps": ["p:1"]}, {"type": "worker", "index": 1.0}),
        ({**PS, "worker": {"0": "a:1", "1": "b:2"}}, {"type": "worker", "index": 1}),
    ],
)  # fmt: skip
def test_other_forms_of_the_same_cluster_are_read(cluster, task):
    found = tf_config.parse(json.dumps({"cluster": cluster, "task": task}))
    assert found == tf_config.parse(text_of(PS, "worker", 1))
    assert found.fingerprint() == tf_config.parse(text_of(PS, "worker", 1)).fingerprint()


def test_a_master_is_a_chief_and_an_empty_ps_is_none():
    found = tf_config.parse(text_of({"master": ["c:1"], "worker": ["a:1"], "ps": []}, "master"))
    assert found == tf_config.parse(text_of({"chief": ["c:1"], "worker": ["a:1"]}, "chief"))


def test_an_evaluator_needs_no_cluster():
    assert tf_config.parse('{"task": {"type": "evaluator", "index": 0}}').is_evaluator


def test_worker_zero_leads_when_there_is_no_chief_job():
    cluster = tf_config.parse(text_of(WORKERS, index=1))
    assert cluster.leader == Task("worker", 0)
    assert not cluster.is_leader and not cluster.is_single_task
    assert cluster.process_index == 1


def test_the_chief_leads_and_trains_where_there_is_no_ps():
    cluster = tf_config.parse(text_of({**WORKERS, "chief": ["c:1"]}, index=1))
    assert cluster.leader == Task("chief", 0)
    assert cluster.trainers() == [Task("chief", 0), Task("worker", 0), Task("worker", 1)]
    assert cluster.process_index == 2


def test_a_chief_with_parameter_servers_holds_no_replica():
    cluster = tf_config.parse(text_of(PS, "chief"))
    assert cluster.has_ps and cluster.is_leader
    assert cluster.trainers() == [Task("worker", 0), Task("worker", 1)]
    with pytest.raises(ValueError):
        _ = cluster.process_index


def test_the_order_of_tasks_does_not_depend_on_the_order_of_jobs():
    cluster = tf_config.parse(text_of(PS, "ps"))
    assert [str(task) for task in cluster.tasks()] == ["chief 0", "worker 0", "worker 1", "ps 0"]
    assert cluster.address(Task("worker", 1)) == "b:2"
    assert cluster.as_dict() == {"chief": ["c:1"], "worker": ["a:1", "b:2"], "ps": ["p:1"]}


def test_the_fingerprint_depends_on_addresses_and_not_on_order_or_task():
    one = tf_config.parse(text_of(PS, "ps"))
    other = tf_config.parse(text_of(dict(reversed(PS.items())), "worker", 1))
    moved = tf_config.parse(text_of({**PS, "ps": ["p:2"]}, "ps"))
    assert one.fingerprint() == other.fingerprint() != moved.fingerprint()
    assert len(one.fingerprint()) == 64


@pytest.mark.parametrize("listed", [{}, {"evaluator": ["e:1"]}])
def test_an_evaluator_may_be_listed_or_not_and_is_never_in_tasks(listed):
    cluster = tf_config.parse(text_of({**WORKERS, **listed}, "evaluator"))
    assert cluster.is_evaluator and not cluster.is_leader
    assert cluster.as_dict() == WORKERS
    assert len(cluster.tasks()) == 2
    without = tf_config.parse(text_of(WORKERS))
    assert cluster.fingerprint() == without.fingerprint()


def test_a_cluster_is_shown_as_one_line():
    assert str(tf_config.parse(text_of(WORKERS, index=1))) == "worker 1 in a cluster of 2 workers"
    assert (
        str(tf_config.parse(text_of({**PS, "ps": ["p:1", "p:2"]}, "ps")))
        == "ps 0 in a cluster of 1 chief, 2 workers and 2 ps"
    )


def test_other_keys_of_tf_config_are_ignored():
    config = json.loads(text_of(WORKERS))
    config |= {"environment": "cloud", "rpc_layer": "grpc"}
    assert tf_config.parse(json.dumps(config)).as_dict() == WORKERS


def test_a_spec_can_be_pickled_and_hashed_and_not_changed():
    cluster = tf_config.parse(text_of(PS, "ps"))
    assert pickle.loads(pickle.dumps(cluster)) == cluster
    assert hash(cluster) == hash(tf_config.parse(text_of(PS, "ps")))
    with pytest.raises(AttributeError):
        cluster.task = Task("worker", 0)


@pytest.mark.parametrize(
    "address, parts",
    [("host-0.svc:2222", ("host-0.svc", 2222)), ("[::1]:65535", ("::1", 65535))],
)
def test_an_address_splits_into_host_and_port(address, parts):
    assert split_address(address) == parts


@pytest.mark.parametrize(
    "address",
    ["host", "host:", ":1", "host:0", "host:65536", "host:x", "::1:2", "[::g]:1", "h:1\n", "a b:1"],
)
def test_an_invalid_address_is_an_error(address):
    with pytest.raises(ValueError):
        split_address(address)


ERRORS = {
    "invalid JSON": (
        "{worker}",
        (
            "must be JSON, but Expecting property name enclosed in double quotes at line 1, column 2."
            f' Received: "{{worker}}"; try {EXAMPLE}.'
        ),
    ),
    "a list": ("[1]", f"must be a JSON object. Received: [1]; try {EXAMPLE}."),
    "a job twice": (
        '{"cluster": {"worker": ["a:1"], "worker": ["b:1"]}}',
        '`worker` must not be repeated. Received: ["worker", "worker"]; merge the two.',
    ),
    "a cluster that is a list": (
        '{"cluster": ["a:1"]}',
        f'`cluster` must map jobs to addresses. Received: ["a:1"]; try {EXAMPLE}.',
    ),
    "a misspelt job": (
        text_of({"workers": ["a:1"]}),
        (
            "`cluster` must use the job names chief, worker, ps, evaluator."
            ' Received: "workers"; write "worker".'
        ),
    ),
    "addresses in one string": (
        text_of({"worker": "a:1"}),
        ('`cluster.worker` must be a list of addresses. Received: "a:1"; write "worker": ["a:1"].'),
    ),
    "a second worker without a cluster": (
        '{"task": {"type": "worker", "index": 1}}',
        (
            "`task` must be worker 0, chief 0 or evaluator 0 where `cluster` has no tasks. Received:"
            f' {{"type": "worker", "index": 1}}; try {EXAMPLE}, or set TF_CONFIG={{}} to train as a'
            " single task."
        ),
    ),
    "two spellings of a job": (
        text_of({"worker": ["a:1"], "workers": ["b:1"]}),
        (
            "`cluster` must use the job names chief, worker, ps, evaluator. Received: "
            '"workers"; merge it into "worker", or remove it.'
        ),
    ),
    "an index that is no number": (
        text_of(WORKERS, index="one"),
        '`task.index` must be an integer. Received: "one"; write e.g. 0.',
    ),
    "a sparse cluster": (
        text_of({"worker": {"1": "b:1"}}),
        (
            '`cluster.worker` must be a list, or name every index. Received: {"1": "b:1"}; list all'
            " addresses in order, the same on every task."
        ),
    ),
    "an address without a port": (
        text_of({"worker": ["a:1", "b"]}),
        (
            '`cluster.worker[1]` must be host:port. Received: "b"; write a host, a colon and a port'
            ' from 1 to 65535, e.g. "host0:2222".'
        ),
    ),
    "an address that is a number": (
        text_of({"worker": [2222]}),
        (
            "`cluster.worker[0]` must be host:port. Received: 2222; write a host, a colon and a port"
            ' from 1 to 65535, e.g. "host0:2222".'
        ),
    ),
    "a port beyond all ports": (
        text_of({"worker": ["a:70000"]}),
        (
            '`cluster.worker[0]` must be host:port. Received: "a:70000"; write a host, a colon and a'
            ' port from 1 to 65535, e.g. "host0:2222".'
        ),
    ),
    "an address with a protocol": (
        text_of({"worker": ["grpc://a:1"]}),
        '`cluster.worker[0]` must be host:port. Received: "grpc://a:1"; remove the protocol.',
    ),
    "a repeated address": (
        text_of({"worker": ["a:1", "A:1"]}),
        (
            '`cluster.worker[0]` and `cluster.worker[1]` must differ. Received: "A:1"; give each task'
            " its own port."
        ),
    ),
    "a chief that is a worker too": (
        text_of({"chief": ["a:1"], "worker": ["a:1"]}),
        (
            '`cluster.chief[0]` and `cluster.worker[0]` must differ. Received: "a:1"; list the chief'
            " under `chief` only, not under `worker`."
        ),
    ),
    "no task": (
        '{"cluster": {"worker": ["a:1"]}}',
        (
            "`task` is missing, so it is not defined which task this process is. Received:"
            ' {"cluster": {"worker": ["a:1"]}}; add e.g. "task": {"type": "worker", "index": 0}.'
        ),
    ),
    "a task that is a string": (
        '{"cluster": {"worker": ["a:1"]}, "task": "worker"}',
        '`task` must be an object. Received: "worker"; try {"type": "worker", "index": 0}.',
    ),
    "no task type": (
        '{"cluster": {"worker": ["a:1"]}, "task": {"index": 0}}',
        '`task.type` is missing. Received: {"index": 0}; write one of worker.',
    ),
    "an unknown task type": (
        text_of(WORKERS, "wroker"),
        '`task.type` must be one of worker. Received: "wroker"; write "worker".',
    ),
    "a task type that is a number": (
        text_of(WORKERS, 7),
        f"`task.type` must be one of worker. Received: 7; try {EXAMPLE}.",
    ),
    "a task outside the cluster": (
        text_of(WORKERS, "ps"),
        (
            '`task.type` must be a job of `cluster`. Received: "ps"; add it to `cluster`, or use one'
            " of worker."
        ),
    ),
    "a chief where worker 0 leads": (
        text_of(WORKERS, "chief"),
        (
            '`task.type` must be a job of `cluster`. Received: "chief"; write "worker" with index 0, as'
            " worker 0 leads where there is no chief."
        ),
    ),
    "no index": (
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}',
        '`task.index` is missing. Received: {"type": "worker"}; add e.g. "index": 0.',
    ),
    "an index that is true": (
        text_of(WORKERS, index=True),
        "`task.index` must be an integer. Received: true; write e.g. 0.",
    ),
    "an index below the range": (
        text_of(WORKERS, index=-1),
        (
            "`task.index` must be from 0 to 1 for a worker. Received: -1; count the tasks of each job"
            " from 0."
        ),
    ),
    "an index that counts the chief": (
        text_of({**WORKERS, "chief": ["c:1"]}, index=2),
        (
            "`task.index` must be from 0 to 1 for a worker. Received: 2; count the tasks of each job"
            " from 0; the chief is not counted among the workers."
        ),
    ),
    "an evaluator beyond the first": (
        text_of(WORKERS, "evaluator", 1),
        "`task.index` must be 0 for an evaluator. Received: 1; count the tasks of each job from 0.",
    ),
    "two chiefs": (
        text_of({"chief": ["a:1", "b:1"]}, "chief"),
        (
            '`cluster.chief` must have one address. Received: ["a:1", "b:1"]; keep one, and list the'
            " others under `worker`."
        ),
    ),
    "ps without chief": (
        text_of({"ps": ["p:1"], "worker": ["a:1"]}),
        (
            "a parameter-server cluster needs a `chief` to coordinate. Received:"
            ' {"ps": ["p:1"], "worker": ["a:1"]}; add a `chief`, with its host:port.'
        ),
    ),
    "ps without worker": (
        text_of({"ps": ["p:1"], "chief": ["a:1"]}, "chief"),
        (
            "a parameter-server cluster needs a `worker` to compute. Received:"
            ' {"ps": ["p:1"], "chief": ["a:1"]}; add a `worker`, with its host:port.'
        ),
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_names_the_field_the_value_and_how_to_fix_it(case):
    text, message = ERRORS[case]
    with pytest.raises(ClusterError) as caught:
        tf_config.parse(text)
    assert str(caught.value) == f"TF_CONFIG: {message}"
    assert caught.value.exit_code == 2


def test_a_message_stays_one_short_line_whatever_was_received():
    for text in [
        "[" * 100_000,
        "9" * 5000,
        '{"cluster": {"worker": ["a\\nb' + "x" * 5000 + '"]}}',
        "\n\x1b[2J{",
    ]:
        with pytest.raises(ClusterError) as caught:
            tf_config.parse(text)
        message = str(caught.value)
        assert message.isprintable() and len(message) < 500


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(string.printable, max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["cluster", "task", "worker", "chief", "ps", "type", "index"]),
                inner,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_defines_a_cluster_or_raises_cluster_error(value):
    try:
        cluster = tf_config.parse(json.dumps(value))
    except ClusterError:
        return
    assert cluster.tasks()
