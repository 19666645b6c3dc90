"""How a machine is shared out among trials."""

import itertools

import pytest

from trainer.config.fields import ConfigError
from trainer.tune.trials.slots import share


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_no_two_trials_share_a_core_and_all_have_as_many(count):
    slots = share(count, range(8), [], 1)
    taken = list(itertools.chain.from_iterable(slot.cores for slot in slots))
    assert len(taken) == len({*taken})
    assert {len(slot.cores) for slot in slots} == {8 // count}


def test_with_fewer_cores_than_trials_each_has_one_and_none_is_left_idle():
    slots = share(5, [4, 7], [], 1)
    assert [slot.cores for slot in slots] == [(4,), (7,), (4,), (7,), (4,)]


def test_no_two_trials_share_a_gpu():
    slots = share(2, range(4), ["0", "1", "2", "3"], 2)
    assert [slot.gpus for slot in slots] == [("0", "1"), ("2", "3")]


def test_too_few_gpus_are_refused():
    with pytest.raises(ConfigError, match="more GPUs than the 3 .*Received: 2 trials of 2 each"):
        share(2, range(4), ["0", "1", "2"], 2)


def test_without_gpus_a_trial_is_told_nothing_about_them():
    assert {slot.gpus for slot in share(2, range(2), [], 1)} == {None}


def test_slots_of_a_machine_carry_its_name():
    assert [slot.name for slot in share(2, range(2), [], 1, "tuner0")] == ["tuner0/0", "tuner0/1"]
