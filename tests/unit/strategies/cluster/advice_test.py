"""Is a TF_CONFIG accepted after its error's own advice has been followed?

Each applier below does what one form of advice says, as a reader would. A message whose advice no applier
knows fails the test, and so does a TF_CONFIG that is still refused after its advice was followed often.
"""

import json
import re

import hypothesis
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.cluster import tf_config, tf_config_forms
from strategies.errors import ClusterError

_MOST_MISTAKES = 25  # In one TF_CONFIG of the generator below.
_ADDRESS = "host{}:2222"


def _json_in(fix):
    """The first JSON value in a text."""
    return json.JSONDecoder().raw_decode(fix[re.search(r'[{\["]', fix).start() :])[0]


def _fields(problem):
    return re.findall(r"`([a-z.0-9\[\]]+)`", problem)


def _whole(config, problem, fix):
    return _json_in(fix)


def _task(config, problem, fix):
    return {**config, "task": _json_in(fix)}


def _job(config, problem, fix):
    """Renames a job, in the cluster or as the type of the task."""
    name = _json_in(fix)
    if "task.type" in problem:
        return _with_task(config, type=name, index=config["task"].get("index", 0))
    old = _received(problem)
    return _with_cluster(
        config, {name if job == old else job: value for job, value in config["cluster"].items()}
    )


def _received(problem):
    return json.loads(problem.partition("Received: ")[2])


def _removed(config, problem, fix):
    others = {job: v for job, v in config["cluster"].items() if job != _received(problem)}
    return _with_cluster(config, others)


def _list_of_job(config, problem, fix):
    job = _fields(problem)[0].partition(".")[2]
    addresses = json.loads("{" + fix.removeprefix("write ").partition(",")[0] + "}")
    return _with_cluster(config, {**config["cluster"], **addresses, job: addresses[job]})


def _in_order(config, problem, fix):
    job = _fields(problem)[0].partition(".")[2]
    return _with_cluster(config, {**config["cluster"], job: [*config["cluster"][job].values()]})


def _address(config, problem, fix):
    """Replaces the address that the problem names, or the second of two."""
    job, index = re.fullmatch(r"cluster\.(\w+)\[(\d+)\]", _fields(problem)[-1]).groups()
    found = [*config["cluster"][job]]
    address = found[int(index)]
    if "remove the protocol" in fix:
        found[int(index)] = address.partition("://")[2]
    else:
        found[int(index)] = _json_in(fix) if '"' in fix else f"other-{job}{index}:2222"
    return _with_cluster(config, {**config["cluster"], job: found})


def _chief_only(config, problem, fix):
    cluster = dict(config["cluster"])
    chiefs = {one.lower() for one in cluster["chief"]}
    for job in {*cluster} - {"chief"}:
        cluster[job] = [one for one in cluster[job] if str(one).lower() not in chiefs]
    return _with_cluster(config, cluster)


def _add_job(config, problem, fix):
    job = _fields(fix)[0]
    return _with_cluster(config, {**config["cluster"], job: [f"new-{job}:2222"]})


def _one_chief(config, problem, fix):
    first, *others = config["cluster"]["chief"]
    workers = [*config["cluster"].get("worker", ()), *others]
    return _with_cluster(config, {**config["cluster"], "chief": [first], "worker": workers})


def _first_type(config, problem, fix):
    word = re.search(r"one of (\w+)", fix)[1]
    return _with_task(config, type=word)


def _index(config, problem, fix):
    return _with_task(config, index=0)


def _with_cluster(config, cluster):
    return {**config, "cluster": cluster}


def _with_task(config, **values):
    return {**config, "task": {**config["task"], **values}}


APPLIERS = [
    (r"try \{\"cluster\"", _whole),
    (r"try \{\"type\"", _task),
    (r"merge it into \"(\w+)\", or remove it", _removed),
    (r"write \"worker\" with index 0", lambda config, *_: _with_task(config, type="worker", index=0)),
    (r"write \"\w+\": \[", _list_of_job),
    (r"write \"\w+\"", _job),
    (r"list all addresses in order", _in_order),
    (r"write a host, a colon and a port|write an IPv6 address|remove the protocol", _address),
    (r"give each task its own port", _address),
    (r"list the chief under `chief` only", _chief_only),
    (r"add e\.g\. \"task\"", lambda config, problem, fix: {**config, **json.loads("{" + fix[9:] + "}")}),
    (r"add e\.g\. \"index\": 0|write e\.g\. 0|count the tasks of each job from 0", _index),
    (r"add a `\w+`", _add_job),
    (r"add it to `cluster`, or use one of|write one of", _first_type),
    (r"keep one, and list the others under `worker`", _one_chief),
]  # fmt: skip


def _follow(config, message):
    problem, _, fix = message.rpartition("; ")
    for separator in re.finditer("; ", message):  # The fix may itself have a semicolon.
        if any(re.match(pattern, message[separator.end() :]) for pattern, _ in APPLIERS):
            problem, fix = message[: separator.start()], message[separator.end() :]
    fix = fix.removesuffix(".")
    for pattern, apply in APPLIERS:
        if re.match(pattern, fix):
            return apply(config, problem, fix)
    raise AssertionError(f"no applier knows how to follow: {fix!r}")


def follow_all(text):
    """How often advice was followed until the TF_CONFIG was accepted."""
    for times in range(_MOST_MISTAKES):
        try:
            tf_config.parse(text)
            return times
        except ClusterError as error:
            is_json = "must be JSON" not in str(error) and "a JSON object" not in str(error)
            config = tf_config_forms.canonical(json.loads(text)) if is_json else {}
            text = json.dumps(_follow(config, str(error)))
    raise AssertionError(f"still refused: {text}")


_ADDRESSES = st.sampled_from(
    ["a:1", "b:2", "A:1", "c:3", "d", "grpc://e:1", "fd00::1:2", ":1", "f:0", 7, None, "[::1]:2"]
)
_VALUES = st.one_of(
    st.lists(_ADDRESSES, max_size=3),
    st.dictionaries(st.sampled_from("0123"), _ADDRESSES, max_size=3),
    st.sampled_from(["a:1", "a", "", 0, None, True]),
)
_JOBS = st.sampled_from(
    ["worker", "chief", "ps", "evaluator", "master", "workers", "Chief", "x", "wroker"]
)
_CONFIGS: st.SearchStrategy[dict] = st.fixed_dictionaries(
    {},
    optional={
        "cluster": st.dictionaries(_JOBS, _VALUES, max_size=4) | st.sampled_from([None, [], "a:1"]),
        "task": st.fixed_dictionaries(
            {},
            optional={
                "type": _JOBS | st.sampled_from(["", 7, None]),
                "index": st.sampled_from([0, 1, 5, -1, "0", "1", "x", 1.0, 0.5, True, None]),
            },
        )
        | st.sampled_from([None, "worker", []]),
        "environment": st.just("cloud"),
    },
)


@settings(max_examples=400)
@given(_CONFIGS)
def test_following_the_advice_of_every_message_leads_to_a_cluster(config):
    hypothesis.event(f"advice followed {follow_all(json.dumps(config))} times")


@settings(max_examples=30)
@given(st.text(max_size=10))
def test_so_does_the_advice_for_what_is_no_json(text):
    assert follow_all(text) <= 1
