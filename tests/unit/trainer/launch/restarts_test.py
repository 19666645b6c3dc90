"""Restart budgets and worker rosters, without any process."""

import itertools
from types import SimpleNamespace

import pytest

from trainer.launch import restarts
from trainer.launch.restarts import RestartBudget, WorkerRoster


def test_pauses_grow_five_times_up_to_ten_seconds_and_are_reset_by_progress():
    budget = RestartBudget(7)
    pauses = [budget.pause_s for _ in itertools.takewhile(bool, iter(budget.spend, None))]
    assert pauses == pytest.approx([0.1, 0.5, 2.5, 10, 10, 10, 10])
    budget.renew()
    assert budget.spend() and budget.pause_s == 0.1


def test_without_restarts_none_can_be_spent():
    assert not RestartBudget(0).spend()


def test_a_worker_that_is_the_first_to_fail_twice_in_a_row_is_dropped():
    roster = WorkerRoster(3, 60)
    assert [roster.keeps_failing(worker) for worker in (1, 2, 1, 1)] == [False, False, False, True]


def test_progress_between_two_failures_makes_them_separate():
    roster = WorkerRoster(3, 60)
    assert not roster.keeps_failing(1)
    roster.note_progress()
    assert not roster.keeps_failing(1)
    assert roster.keeps_failing(1)


def test_only_workers_are_dropped():
    roster = WorkerRoster(2, 60)
    assert not roster.keeps_failing(None)
    assert not roster.keeps_failing(None)


def test_the_worker_that_failed_is_dropped_and_then_the_last_ones():
    roster = WorkerRoster(6, 60)
    roster.drop(1, 3)
    assert roster.present == (0, 2, 3) and not roster.is_complete
    roster.drop(0, 2)
    assert roster.present == (2, 3)
    roster.restore_all()
    assert roster.present == (0, 1, 2, 3, 4, 5) and roster.is_complete


def test_a_worker_that_is_back_has_one_attempt_and_then_a_wait_twice_as_long():
    roster = WorkerRoster(2, 60)
    waits = [roster.drop(1, 1)]
    for _ in range(2):
        roster.restore_all()
        assert not roster.keeps_failing(0)
        assert roster.keeps_failing(1)
        waits.append(roster.drop(1, 1))
    assert waits == [60, 120, 240]


def test_only_progress_with_all_workers_ends_the_probation():
    roster = WorkerRoster(2, 60)
    roster.drop(1, 1)
    roster.note_progress()
    roster.restore_all()
    assert roster.keeps_failing(1)
    assert roster.drop(1, 1) == 120
    roster.restore_all()
    roster.note_progress()
    assert not roster.keeps_failing(1)
    assert roster.keeps_failing(1)
    assert roster.drop(1, 1) == 60


def test_dropped_workers_are_due_when_their_wait_is_over(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(restarts, "time", SimpleNamespace(monotonic=lambda: clock.now))
    roster = WorkerRoster(2, 60)
    roster.drop(1, 1)
    clock.now += 59
    assert roster.rejoin_in_s == 1
    clock.now += 1
    assert roster.rejoin_in_s == 0
