"""Are a machine's cores and GPUs divided evenly among trials?"""

import itertools

import pytest

from trainer.config.fields import ConfigError
from trainer.tune.trials.slots import make_slots


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_no_two_trials_share_a_core_and_all_have_the_same_number(count):
    slots = make_slots(count, range(8), [], 1)
    cores = list(itertools.chain.from_iterable(slot.cores for slot in slots))
    assert len(cores) == len({*cores})
    assert {len(slot.cores) for slot in slots} == {8 // count}


def test_with_fewer_cores_than_trials_each_has_one_and_no_core_is_idle():
    slots = make_slots(5, [4, 7], [], 1)
    assert [slot.cores for slot in slots] == [(4,), (7,), (4,), (7,), (4,)]


def test_no_two_trials_share_a_gpu():
    slots = make_slots(2, range(4), ["0", "1", "2", "3"], 2)
    assert [slot.gpus for slot in slots] == [("0", "1"), ("2", "3")]


def test_too_few_gpus_are_refused():
    with pytest.raises(ConfigError, match="more GPUs than the 3 .*Received: 2 trials of 2 each"):
        make_slots(2, range(4), ["0", "1", "2"], 2)


def test_without_gpus_a_slot_does_not_set_them():
    assert {slot.gpus for slot in make_slots(2, range(2), [], 1)} == {None}


def test_the_name_of_a_slot_begins_with_that_of_its_machine():
    assert [slot.name for slot in make_slots(2, range(2), [], 1, "tuner0")] == [
        "tuner0/0",
        "tuner0/1",
    ]
