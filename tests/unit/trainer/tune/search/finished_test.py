"""Is a sweep found to be over by who reads its folder, and left as it is?"""

import contextlib

import pytest

from trainer.config import load as config_load
from trainer.config.load import resolve
from trainer.tune.search import finished, oracle
from trainer.tune.search.ledger import Ledger
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
def search_in():
    """Makes the search of a folder, for so many trials of a sweep with this seed."""
    with contextlib.ExitStack() as stack:

        def make(folder, max_trials=2, seed=1):
            settings = {"max_trials": max_trials, "seed": seed, "max_epochs": 4, "factor": 2}
            source = oracle.create("grid", SPACE, ACCURACY, **settings)
            ledger = Ledger(folder / "ledger.jsonl", {"seed": seed})
            stack.callback(ledger.close)
            return Search(ACCURACY, source, ledger, make_trial)

        yield make


def test_a_sweep_is_over_once_its_last_trial_has_ended(tmp_path, search_in):
    search, ledger = search_in(tmp_path), tmp_path / "ledger.jsonl"
    assert not finished.is_over(tmp_path, search_in)
    for _ in range(2):
        assignment = search.ask("0")
        assert not finished.is_over(tmp_path, search_in)
        search.tell(assignment.id, Outcome(COMPLETED, {"test_accuracy": 0.9}))
    before = ledger.read_bytes()
    assert finished.is_over(tmp_path, search_in)
    assert not finished.is_over(tmp_path, lambda folder: search_in(folder, max_trials=3))
    assert not finished.is_over(tmp_path, lambda folder: search_in(folder, seed=2))
    assert ledger.read_bytes() == before


@pytest.mark.parametrize("content", [None, b"", b"no ledger\n"])
def test_without_a_ledger_no_sweep_is_over(tmp_path, search_in, content):
    if content is not None:
        (tmp_path / "ledger.jsonl").write_bytes(content)
    assert not finished.is_over(tmp_path, search_in)
