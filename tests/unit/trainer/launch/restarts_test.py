"""How often and with whom a cluster is started again, without any process."""

import itertools
import time

from trainer.launch.restarts import RestartBudget, WorkerRoster


def test_pauses_double_up_to_ten_seconds_and_begin_again_with_progress():
    budget = RestartBudget(7)
    pauses = [budget.pause_s for _ in itertools.takewhile(bool, iter(budget.spend, None))]
    assert pauses == [0.5, 1, 2, 4, 8, 10, 10]
    budget.renew()
    assert budget.spend() and budget.pause_s == 0.5


def test_without_restarts_none_can_be_spent():
    assert not RestartBudget(0).spend()


def test_a_worker_stays_away_when_it_fails_first_twice_in_succession():
    roster = WorkerRoster(3, 60)
    assert [roster.stays_away(worker) for worker in (1, 2, 1, 1)] == [False, False, False, True]


def test_progress_between_two_failures_makes_them_separate():
    roster = WorkerRoster(3, 60)
    assert not roster.stays_away(1)
    roster.note_progress()
    assert not roster.stays_away(1)
    assert roster.stays_away(1)


def test_tasks_that_are_no_workers_never_stay_away():
    roster = WorkerRoster(2, 60)
    assert not roster.stays_away(None)
    assert not roster.stays_away(None)


def test_those_left_out_are_the_one_that_failed_and_then_the_last():
    roster = WorkerRoster(6, 60)
    roster.leave_out(1, 3)
    assert roster.present == (0, 2, 3) and not roster.is_whole
    roster.leave_out(0, 2)
    assert roster.present == (2, 3)
    roster.restore_all()
    assert roster.present == (0, 1, 2, 3, 4, 5) and roster.is_whole


def test_a_worker_that_came_back_has_one_try_and_then_a_wait_twice_as_long():
    roster = WorkerRoster(2, 60)
    waits = [roster.leave_out(1, 1)]
    for _ in range(2):
        roster.restore_all()
        assert not roster.stays_away(0)
        assert roster.stays_away(1)
        waits.append(roster.leave_out(1, 1))
    assert waits == [60, 120, 240]


def test_progress_with_all_workers_ends_the_trial_and_that_of_a_smaller_cluster_does_not():
    roster = WorkerRoster(2, 60)
    roster.leave_out(1, 1)
    roster.note_progress()
    roster.restore_all()
    assert roster.stays_away(1)
    assert roster.leave_out(1, 1) == 120
    roster.restore_all()
    roster.note_progress()
    assert not roster.stays_away(1)
    assert roster.stays_away(1)
    assert roster.leave_out(1, 1) == 60


def test_the_workers_left_out_are_due_once_their_wait_is_over():
    roster = WorkerRoster(2, 0.05)
    roster.leave_out(1, 1)
    assert 0 < roster.left_s <= 0.05
    time.sleep(0.05)
    assert roster.left_s == 0
