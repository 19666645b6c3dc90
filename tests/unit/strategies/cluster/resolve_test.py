"""Which cluster does each source define, and which sources contradict each other?"""

import json
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strategies.cluster import hostlist, local_address, slurm
from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import ClusterError
from tests.unit.strategies.cluster.resolving import error_of, found

TF_CONFIG = json.dumps(
    {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}
)
STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "n[9-10]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
}
PORT = 10_000 + 7 * 128  # The first of the step's range.


# The flags.


def test_a_list_by_job_defines_the_same_cluster_as_tf_config():
    flags = found("chief=c:1;worker=a:1,b:1;ps=p:1", "worker:1")
    cluster = {"chief": ["c:1"], "worker": ["a:1", "b:1"], "ps": ["p:1"]}
    config = {"cluster": cluster, "task": {"type": "worker", "index": 1}}
    written = found(TF_CONFIG=json.dumps(config))
    assert flags == written and flags.fingerprint() == written.fingerprint()
    assert str(flags) == f"{written} (from --cluster)"


def test_a_comma_separates_jobs_as_a_semicolon_does():
    commas = found("chief=c:1,worker=a[1,3]:1,b:1,ps=[::1]:1", "worker:1")
    assert commas == found("chief=c:1;worker=a[1,3]:1,b:1;ps=[::1]:1", "worker:1")
    assert commas.as_dict() == {
        "chief": ["c:1"],
        "worker": ["a1:1", "a3:1", "b:1"],
        "ps": ["[::1]:1"],
    }


def test_a_list_without_jobs_has_workers_only():
    assert found("a:1,b:1", "worker:1") == found(TF_CONFIG=TF_CONFIG)


def test_with_ps_the_first_task_is_the_chief_and_the_next_are_the_parameter_servers():
    cluster = found("h[0-4]:1", "worker:0", 2)
    assert cluster.as_dict() == {
        "chief": ["h0:1"],
        "worker": ["h3:1", "h4:1"],
        "ps": ["h1:1", "h2:1"],
    }


def test_addresses_may_be_ranges_and_ipv6():
    cluster = found("worker=n[08-10].svc:1,[::1]:2", "worker:3")
    assert cluster.as_dict() == {"worker": ["n08.svc:1", "n09.svc:1", "n10.svc:1", "[::1]:2"]}


def test_spaces_between_jobs_and_addresses_are_ignored():
    assert found("worker = a:1, b:1 ; chief=c:1", "worker:1") == found(
        "worker=a:1,b:1;chief=c:1", "worker:1"
    )


def test_an_evaluator_does_not_need_an_address():
    cluster = found("worker=a:1", "evaluator:0")
    assert cluster.is_evaluator and cluster.as_dict() == {"worker": ["a:1"]}


@pytest.mark.parametrize("index, task", [(0, ("chief", 0)), (2, ("ps", 1)), (4, ("worker", 1))])
def test_a_pod_of_an_indexed_job_is_the_task_at_its_index(index, task):
    cluster = found("m-[0-4].m:2222", "", 2, JOB_COMPLETION_INDEX=str(index))
    assert cluster.task == Task(*task)
    assert str(cluster).endswith(" (from --cluster, task from JOB_COMPLETION_INDEX)")


def test_without_task_the_address_with_this_machines_name_is_used():
    name = socket.gethostname()
    cluster = found(f"chief=elsewhere:1;worker=also.elsewhere:1,{name}.example.org:2")
    assert cluster.task == Task("worker", 1)
    assert str(cluster).endswith(f" (from --cluster, where {name}.example.org:2 is this machine)")


@pytest.mark.parametrize(
    "hosts, own",
    [
        (["203.0.113.1", "127.0.0.1"], [1]),  # 203.0.113.0/24 is reserved for documentation.
        (["[::1]", "203.0.113.1"], [0]),
        (["node1", "node2.lan"], [1]),
        (["node2", "node2.lan"], [1]),  # The whole name takes precedence over its first label.
        (["NODE2.lan"], [0]),
        (["node2.elsewhere"], [0]),
        (["node1", "node3"], []),
        (["localhost", "127.0.0.1"], [0, 1]),
        (["2.2.2.2"], []),
    ],
)
def test_a_machine_finds_its_own_addresses_by_name_or_ip_address(hosts, own):
    if "[::1]" in hosts and not socket.has_ipv6:
        pytest.skip("needs IPv6")
    addresses = [f"{host}:2222" for host in hosts]
    assert local_address.own_indices(addresses, "node2.lan") == own


FLAG_ERRORS = [
    (("", "worker:0"), "`--task` needs `--cluster` too. Received: 'worker:0'; add e.g. "
     "--cluster=worker=host0:2222,host1:2222."),
    (("a:1,worker=b:1", "worker:0"), "`--cluster` must begin with a job. Received: 'a:1,worker=b:1'; "
     "try --cluster=worker=host0:2222,host1:2222."),
    (("a,b", ""), '--cluster: `cluster.worker[0]` must be host:port. Received: "a"; write a host, a '
     'colon and a port from 1 to 65535, e.g. "host0:2222".'),
    (("a:1,a:1", ""), "--cluster: `cluster.worker[0]` and `cluster.worker[1]` must differ. Received: "
     '"a:1"; give each task its own port.'),
    (("fd00::1:1", "worker:0"), '--cluster: `cluster.worker[0]` must be host:port. Received: '
     '"fd00::1:1"; write an IPv6 address in brackets, e.g. "[fd00::1]:2222".'),
    (("workers=a:1", "worker:0"), "`--cluster` must name a job, one of chief, worker, ps, evaluator. "
     "Received: 'workers'; try --cluster=worker=host0:2222,host1:2222."),
    (("worker=a:1; worker=b:1", "worker:0"), "`--cluster` must name each job once. Received: "
     "'worker=a:1; worker=b:1'; merge the two lists of worker."),
    (("worker=", "worker:0"), "`--cluster` must list addresses. Received: ''; try "
     "--cluster=worker=host0:2222,host1:2222."),
    (("worker=a:1,", "worker:0"), "`--cluster` must list addresses (a name is missing before or after a "
     "comma). Received: 'a:1,'; try --cluster=worker=host0:2222,host1:2222."),
    (("worker=a[3-1]:1", "worker:0"), "`--cluster` must list addresses ([3-1] must count up, over at "
     "most 10,000 numbers). Received: 'a[3-1]:1'; try --cluster=worker=host0:2222,host1:2222."),
    (("worker=a", "worker:0"), '--cluster: `cluster.worker[0]` must be host:port. Received: "a"; write a '
     'host, a colon and a port from 1 to 65535, e.g. "host0:2222".'),
    (("worker=a:1,a:1", "worker:0"), "--cluster: `cluster.worker[0]` and `cluster.worker[1]` must "
     'differ. Received: "a:1"; give each task its own port.'),
    (("ps=a:1;worker=b:1", "worker:0"), "--cluster: a parameter-server cluster needs a `chief` to "
     'coordinate. Received: {"ps": ["a:1"], "worker": ["b:1"]}; add a `chief`, with its host:port.'),
    (("a:1,b:1", "worker:2"), "--cluster: `task.index` must be from 0 to 1 for a worker. Received: 2; "
     "count the tasks of each job from 0."),
    (("a:1,b:1", "1"), "`--task` must be a job and a number from 0. Received: '1'; try --task=worker:0."),
    (("a:1,b:1", "w:1"), "`--task` must name a job, one of chief, worker, ps, evaluator. Received: "
     "'w'; try --task=worker:0."),
    (("203.0.113.1:1,203.0.113.2:1", ""), "`--cluster` does not define which task this is: none of "
     "its addresses are this machine's. Received: '203.0.113.1:1,203.0.113.2:1'; add e.g. "
     "--task=worker:0."),
    (("127.0.0.1:1,127.0.0.1:2", ""), "`--cluster` does not define which task this is: 2 of its "
     "addresses are this machine's. Received: '127.0.0.1:1,127.0.0.1:2'; add e.g. --task=worker:0."),
    (("worker=a:1;ps=b:1", "ps:0", 1), "`--ps` needs a --cluster without job names. Received: "
     "'worker=a:1;ps=b:1'; list the parameter servers as ps=host:port, or remove the job names."),
    (("a:1,b:1", "chief:0", 1), "`--ps` must leave a chief and a worker of the 2 tasks from --cluster. "
     "Received: 1; lower it, or start 3 tasks or more."),
    (("", "", 2), "`--ps` needs a --cluster that lists addresses without jobs, or a Slurm step. "
     "Received: 2, with neither; start a cluster on this machine with `python -m trainer launch "
     "--ps=2`."),
]  # fmt: skip


@pytest.mark.parametrize("flags, message", FLAG_ERRORS)
def test_an_invalid_flag_is_reported_in_one_line(flags, message):
    assert error_of(*flags) == message


def test_a_completion_index_beyond_the_list_is_an_error():
    assert error_of("a:1,b:1", JOB_COMPLETION_INDEX="2") == (
        "`JOB_COMPLETION_INDEX` must be from 0 to 1 for the tasks of --cluster. Received: '2'; list one "
        "task for each completion of the Job, or add --task."
    )


@given(st.text(), st.text(), st.integers(0, 4))
def test_any_flags_define_a_cluster_or_raise_an_error_of_one_line(cluster, task, ps):
    try:
        outcome = found(cluster, task or "worker:0", ps)
    except ClusterError as error:
        outcome = error
    assert isinstance(outcome, ClusterSpec) or len(str(outcome).splitlines()) == 1


# Two sources.


@pytest.mark.parametrize(
    "flags, message",
    [
        (("worker=a:1,b:1", "worker:1"), "`--cluster` and TF_CONFIG must not both define the "
         "cluster. Received: 'worker=a:1,b:1', and a TF_CONFIG for worker 1 in a cluster of 2 workers; "),
        (("", "worker:1"), "`--task` and TF_CONFIG must not both"),
        (("", "", 1), "`--ps` and TF_CONFIG must not both"),
    ],
)  # fmt: skip
def test_flags_and_tf_config_exclude_each_other(flags, message):
    assert error_of(*flags, TF_CONFIG=TF_CONFIG).startswith(message)


def test_tf_config_and_the_flags_override_slurm():
    assert found(**STEP, TF_CONFIG=TF_CONFIG) == found(TF_CONFIG=TF_CONFIG)
    assert found("a:1,b:1", "worker:1", **STEP) == found(TF_CONFIG=TF_CONFIG)


def test_an_empty_object_in_tf_config_means_a_single_task_also_within_slurm():
    assert found(**STEP, TF_CONFIG="{}") == ClusterSpec()
    assert found(**STEP, TF_CONFIG="") == found(**STEP) != ClusterSpec()


def test_a_pod_of_an_indexed_job_without_cluster_is_a_single_task():
    assert found(JOB_COMPLETION_INDEX="1") == ClusterSpec()


SINGLE = "single task, no cluster in TF_CONFIG"
WITHOUT_SRUN = f"{SINGLE}; this Slurm job has more nodes or tasks, which srun would start"


@pytest.mark.parametrize(
    "environ, text",
    [
        ({}, SINGLE),
        (
            {"JOB_COMPLETION_INDEX": "1"},
            f"{SINGLE}; list the tasks of this Indexed Job in --cluster to train together",
        ),
        (
            {"SLURM_JOB_NUM_NODES": "2", "SLURM_PROCID": "0"},
            WITHOUT_SRUN,
        ),  # A batch script has a PROCID.
        ({"SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS": "2"}, WITHOUT_SRUN),
        ({"SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS": "1"}, SINGLE),
        ({"SLURM_JOB_NUM_NODES": "2", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, SINGLE),
        ({"SLURM_JOB_NUM_NODES": "2", "TF_CONFIG": "{}"}, SINGLE),
    ],
)
def test_a_single_task_is_shown_with_the_cluster_that_may_have_been_intended(environ, text):
    assert str(found(**environ)) == text


# Slurm.


def test_the_tasks_of_a_step_are_workers_in_slurms_order():
    cluster = found(**STEP)
    hosts = ["n9", "n9", "n10", "n10"]
    ports = [PORT, PORT + 1] * 2
    addresses = [f"{host}:{port}" for host, port in zip(hosts, ports, strict=True)]
    assert cluster.as_dict() == {"worker": addresses}
    assert str(cluster) == "worker 3 in a cluster of 4 workers (from Slurm)"


def test_with_ps_the_first_task_of_a_step_is_the_chief():
    cluster = found(ps=1, **STEP)
    assert cluster.task == Task("worker", 1)
    assert cluster.as_dict()["chief"] == [f"n9:{PORT}"]
    assert cluster.as_dict()["ps"] == [f"n9:{PORT + 1}"]


@pytest.mark.parametrize("nodes, per_node, local", [("n[1-2]", "1(x2)", "0"), ("n1", "2", "1")])
def test_the_distribution_does_not_matter_where_all_of_them_number_tasks_alike(
    nodes, per_node, local
):
    names = ("SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE", "SLURM_LOCALID")
    step = STEP | dict(zip(names, (nodes, per_node, local), strict=True))
    step |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}
    cluster = found(**step, SLURM_DISTRIBUTION="cyclic")
    assert cluster == found(**step)
    assert str(cluster) == "worker 1 in a cluster of 2 workers (from Slurm)"


@pytest.mark.parametrize("ports", ["12000-12001", "12000,12001"])
def test_the_ports_that_slurm_reserved_are_used(ports):
    cluster = found(**STEP, SLURM_STEP_RESV_PORTS=ports)
    assert cluster.as_dict()["worker"][:2] == ["n9:12000", "n9:12001"]


@pytest.mark.parametrize(
    "changed",
    [{"SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_STEP_NUM_TASKS": ""}, {"SLURM_PROCID": None}],
)
def test_outside_a_step_of_several_tasks_this_is_a_single_task(changed):
    environ = {name: value for name, value in (STEP | changed).items() if value is not None}
    assert found(**environ) == ClusterSpec()


@given(st.integers(1, 2**32 - 1), st.one_of(st.integers(0, 99), st.integers(2**32 - 10, 2**32 - 1)))
def test_ports_stay_below_those_of_outgoing_connections(job, step):
    environ = STEP | {"SLURM_JOB_ID": str(job), "SLURM_STEP_ID": str(step)}
    environ |= {"SLURM_STEP_TASKS_PER_NODE": "128(x2)", "SLURM_STEP_NUM_TASKS": "256"}
    addresses, _ = slurm.addresses(environ | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"})
    ports = {int(address.rpartition(":")[2]) for address in addresses}
    assert len(ports) == 128 and min(ports) >= 10_000 and max(ports) < 32_768


def test_gpus_that_all_tasks_of_a_node_see_are_divided_among_them():
    gpus = [*"01234"]
    assert slurm.own_gpus(STEP, gpus) == ["2", "3"]
    assert slurm.own_gpus(STEP | {"SLURM_GPUS_ON_NODE": "5"}, gpus) == ["2", "3"]
    assert slurm.own_gpus(STEP | {"SLURM_LOCALID": "0"}, gpus) == ["0", "1"]


@pytest.mark.parametrize(
    "changed, gpus",
    [
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x4)", "SLURM_LOCALID": "0"}, ["0", "1"]),
        ({"SLURM_GPUS_ON_NODE": "4"}, ["2", "3"]),  # As with --gpus-per-task=2.
        ({"SLURM_GPUS_ON_NODE": "2"}, ["1"]),
        ({}, ["0"]),
        ({}, []),
    ],
)
def test_gpus_that_are_already_bound_or_too_few_are_not_divided(changed, gpus):
    assert slurm.own_gpus(STEP | changed, gpus) == gpus


SLURM_ERRORS = [
    ({"SLURM_PROCID": "4"}, "`SLURM_STEP_NODELIST`, `SLURM_STEP_TASKS_PER_NODE`, `SLURM_STEP_NUM_TASKS` "
     "and `SLURM_PROCID` must agree. Received: ['n[9-10]', '2(x2)', '4', '4']; set them as srun does, or "
     "use --cluster"),
    ({"SLURM_STEP_NODELIST": "n9"}, "`SLURM_STEP_NODELIST`, `SLURM_STEP_TASKS_PER_NODE`, "
     "`SLURM_STEP_NUM_TASKS` and `SLURM_PROCID` must agree. Received: ['n9', '2(x2)', '4', '3']; set "
     "them as srun does, or use --cluster"),
    ({"SLURM_LOCALID": "0"}, "tasks must be numbered node by node. Received: 'SLURM_LOCALID=0, expected "
     "1'; use srun --distribution=block"),
    ({"SLURM_DISTRIBUTION": "cyclic:block"}, "tasks must be numbered node by node. Received: "
     "'cyclic:block'; use srun --distribution=block"),
    ({"SLURM_STEP_NODELIST": "n[9"}, "`SLURM_STEP_NODELIST` must list the nodes (a bracket is not "
     "closed). Received: 'n[9'; use --cluster instead"),
    ({"SLURM_STEP_NODELIST": ""}, "`SLURM_STEP_NODELIST` is missing. Received: 'none'; start with srun, "
     "or use --cluster"),
    ({"SLURM_STEP_TASKS_PER_NODE": "2x2"}, "`SLURM_STEP_TASKS_PER_NODE` must count the tasks. Received: "
     "'2x2'; use --cluster instead"),
    ({"SLURM_PROCID": "x"}, "`SLURM_PROCID` must be a number. Received: 'x'; set it as srun does, or "
     "use --cluster"),
    ({"SLURM_STEP_RESV_PORTS": "12000"}, "`SLURM_STEP_RESV_PORTS` must have a port for each of the 2 "
     "tasks of a node. Received: '12000'; use srun --resv-ports=2"),
]  # fmt: skip


@pytest.mark.parametrize("changed, message", SLURM_ERRORS)
def test_invalid_variables_of_slurm_are_reported_in_one_line(changed, message):
    error = error_of(**(STEP | changed))
    assert error == f"Slurm: {message}, or set TF_CONFIG={{}} to train as a single task."


# In comparison with TensorFlow's own resolver, which sorts the nodes by name.

_PREFIXES = st.text("abcxyz-", min_size=1, max_size=4).filter(lambda text: text[0] != "-")
_RANGES = st.tuples(st.integers(0, 300), st.integers(0, 30), st.integers(1, 4)).map(
    lambda drawn: (
        f"{drawn[0]:0{drawn[2]}}-{drawn[0] + drawn[1]:0{drawn[2]}}"
        if drawn[1]
        else f"{drawn[0]:0{drawn[2]}}"
    )
)
_PARTS = st.one_of(
    _PREFIXES,
    st.tuples(_PREFIXES, st.lists(_RANGES, min_size=1, max_size=3)).map(
        lambda drawn: f"{drawn[0]}[{','.join(drawn[1])}]"
    ),
)
_LISTS = st.lists(_PARTS, min_size=1, max_size=4).map(",".join)


@pytest.fixture(scope="module")
def resolver():
    from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver

    return slurm_cluster_resolver


@given(text=_LISTS)
def test_a_list_of_nodes_expands_as_in_tensorflow(resolver, text):
    assert hostlist.expand(text) == resolver.expand_hostlist(text)


_COUNTS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3)), min_size=1, max_size=3)


@given(counts=_COUNTS, ps=st.integers(0, 2), gpus=st.integers(0, 9), data=st.data())
def test_a_step_is_the_cluster_that_tensorflows_resolver_finds(resolver, counts, ps, gpus, data):
    each = [count for count, times in counts for _ in range(times)]
    total = sum(each)
    if total < max(2, ps + 2 if ps else 0):
        return
    distinct = _LISTS.filter(
        lambda text: len({*hostlist.expand(text)}) == len(hostlist.expand(text))
    )
    nodes = hostlist.expand(data.draw(distinct))[: len(each)]
    nodes += [f"zz{number:02}" for number in range(len(each) - len(nodes))]
    nodes = sorted(nodes) if data.draw(st.booleans()) else nodes
    rank = data.draw(st.integers(0, total - 1))
    local_ids = [local for count in each for local in range(count)]
    environ = STEP | {
        "SLURM_STEP_NODELIST": ",".join(nodes),
        "SLURM_STEP_TASKS_PER_NODE": ",".join(
            f"{count}(x{times})" if times > 1 else f"{count}" for count, times in counts
        ),
        "SLURM_STEP_NUM_TASKS": str(total),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(local_ids[rank]),
    }
    jobs = {"chief": 1, "ps": ps, "worker": total - ps - 1} if ps else {"worker": total}
    # It runs nvidia-smi unless given this, and finds no tasks without a GPU for each.
    per_node = max(gpus, *each)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environ | {"CUDA_VISIBLE_DEVICES": ""}).items():
            patch.setenv(name, value)
        theirs = resolver.SlurmClusterResolver(jobs, PORT, gpus_per_node=per_node)
        spec = theirs.cluster_spec().as_dict()
        their_gpus = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
    ours = found(ps=ps, **environ)
    if nodes == sorted(nodes):
        assert ours.as_dict() == spec
        assert (ours.task.type, ours.task.index) == theirs.get_task_info()
        assert slurm.own_gpus(environ, [*map(str, range(per_node))]) == their_gpus
    assert sorted(sum(ours.as_dict().values(), [])) == sorted(sum(spec.values(), []))
