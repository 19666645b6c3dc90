"""Does `has_finished` recognize a finished sweep, and leave its folder unchanged?"""

import contextlib

import pytest

from trainer.config import load as config_load
from trainer.config.load import resolve
from trainer.tune.search.finished import has_finished
from trainer.tune.search.ledger import Ledger
from trainer.tune.search.oracle import create
from trainer.tune.search.record import COMPLETED, Objective
from trainer.tune.search.search import Search
from trainer.tune.search.trial_source import Outcome
from trainer.tune.space import space

ACCURACY = Objective.named("test_accuracy")
BASE = resolve("digits_dense")
SPACE = space.load("digits_dense", "", {"optimizer.learning_rate": "0.001|0.01|0.1"})


def make_trial(suggestion):
    return config_load.override(BASE, SPACE.split(suggestion.values)[0]), ()


@pytest.fixture
def open_search():
    """Opens the search in a folder, with `max_trials` trials of a sweep with this seed."""
    with contextlib.ExitStack() as stack:

        def make(folder, max_trials=2, seed=1):
            settings = {"max_trials": max_trials, "seed": seed, "max_epochs": 4, "factor": 2}
            oracle = create("grid", SPACE, ACCURACY, **settings)
            ledger = Ledger(folder / "ledger.jsonl", {"seed": seed})
            stack.callback(ledger.close)
            return Search(ACCURACY, oracle, ledger, make_trial)

        yield make


def test_a_sweep_has_finished_once_its_last_trial_has_ended(tmp_path, open_search):
    search, ledger = open_search(tmp_path), tmp_path / "ledger.jsonl"
    assert not has_finished(tmp_path, open_search)
    for _ in range(2):
        spec = search.ask("0")
        assert not has_finished(tmp_path, open_search)
        search.tell(spec.id, Outcome(COMPLETED, {"test_accuracy": 0.9}))
    before = ledger.read_bytes()
    assert has_finished(tmp_path, open_search)
    assert not has_finished(tmp_path, lambda folder: open_search(folder, max_trials=3))
    assert not has_finished(tmp_path, lambda folder: open_search(folder, seed=2))
    assert ledger.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"no ledger\n"])
def test_without_a_valid_ledger_no_sweep_has_finished(tmp_path, open_search, content):
    if content is not None:
        (tmp_path / "ledger.jsonl").write_bytes(content)
    assert not has_finished(tmp_path, open_search)
