"""Is every invalid message of a sweep's server or client refused?"""

import json

import pytest

from strategies.network.connection import ProtocolError
from tests.unit.trainer.tune.machines.harness import OUTCOME
from trainer.tune.machines import messages
from trainer.tune.search.trial_source import Progress, TrialSpec

PROGRESS, SPEC = Progress(1, 0.5, {"loss": 1}), TrialSpec("0", {})


@pytest.mark.parametrize(
    "parse, valid, changes",
    [
        (messages.parse_progress, PROGRESS, {"step": [-1, True, "1", 2**63, None]}),
        (messages.parse_progress, PROGRESS, {"epoch": [-0.1, float("nan"), 10**400, "1"]}),
        (messages.parse_progress, PROGRESS, {"metrics": [[], {"a": "b"}, {"a": True}]}),
        (messages.parse_progress, PROGRESS, {"metrics": [dict.fromkeys(map(str, range(1001)), 0)]}),
        (messages.parse_outcome, OUTCOME, {"status": ["running", "won", None], "error": [1, None]}),
        (messages.parse_outcome, OUTCOME, {"seconds": [-1, float("inf"), None], "metrics": [None]}),
        (messages.parse_trial_spec, SPEC, {"id": ["", ".", "..", "a/b", "a\n", "a" * 65, 1]}),
        (messages.parse_trial_spec, SPEC, {"continues": ["../a", 1], "config": ["recipe.py"]}),
        (messages.parse_trial_spec, SPEC, {"flags": ["--ps=1", ["evaluate"], ["--ps=1\n"]]}),
        (messages.parse_trial_spec, SPEC, {"flags": [["--ps"], ["--ps=1"] * 101, [["--ps=1"]]]}),
        (messages.parse_trial_spec, SPEC, {"flags": [["--config=/tmp/recipe.py"]]}),
        (messages.parse_trial_spec, SPEC, {"flags": [["--config.data.dir=/tmp"]]}),
        (messages.parse_trial_spec, SPEC, {"flags": [["--workdir=/tmp"], ["--secret_file=a"]]}),
    ],
)
def test_an_invalid_message_is_refused(parse, valid, changes):
    received = json.loads(json.dumps(messages.to_json(valid)))
    assert parse(received) == valid
    for name, values in changes.items():
        for value in values:
            with pytest.raises(ProtocolError):
                parse({**received, name: value})
    with pytest.raises(ProtocolError):
        parse([received])


def test_a_line_has_no_control_characters_and_at_most_1000_characters():
    assert messages.parse_line("it \x1b[2Jfailed\n twice\r ") == "it \\x1b[2Jfailed twice"
    assert len(messages.parse_line("a b" * 100_000)) == 1000
