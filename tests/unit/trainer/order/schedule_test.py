"""Do the loops cover a run exactly, and stop where something is due?"""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from trainer.order.schedule import Loop, Schedule

_SCHEDULES = st.builds(
    Schedule,
    total_steps=st.integers(1, 400),
    steps_per_epoch=st.integers(1, 100),
    steps_per_loop=st.integers(1, 120),
    evaluate_every=st.integers(0, 150),
    checkpoint_every=st.integers(0, 150),
)


def _multiples(every, total):
    """The steps at which an event is due that happens every `every` steps, and at the end."""
    return {step for step in range(1, total + 1) if every and step % every == 0} | {total}


def _ends(loops, event):
    return {loop.end_step for loop in loops if getattr(loop, event)}


@given(_SCHEDULES)
def test_the_loops_tile_the_run(schedule):
    step = 0
    for loop in schedule.loops(0):
        assert loop.first_step == step
        assert 1 <= loop.num_steps <= schedule.steps_per_loop
        step = loop.end_step
    assert step == schedule.total_steps


@given(_SCHEDULES)
def test_no_loop_crosses_an_epochs_end_or_an_event(schedule):
    every = (schedule.steps_per_epoch, schedule.evaluate_every, schedule.checkpoint_every)
    stops = set().union(*(_multiples(n, schedule.total_steps) for n in every))
    for loop in schedule.loops(0):
        assert not stops & set(range(loop.first_step + 1, loop.end_step))


@given(_SCHEDULES)
def test_every_event_happens_when_it_is_due_and_at_no_other_step(schedule):
    loops = list(schedule.loops(0))
    total = schedule.total_steps
    evaluations = _multiples(schedule.evaluate_every, total)
    checkpoints = _multiples(schedule.checkpoint_every, total)
    assert _ends(loops, "evaluate") == evaluations
    assert _ends(loops, "checkpoint") == checkpoints
    reports = _multiples(schedule.steps_per_epoch, total) | evaluations | checkpoints
    assert _ends(loops, "report") == reports


@given(_SCHEDULES, st.data())
def test_a_run_resumed_at_the_end_of_a_loop_has_the_same_loops(schedule, data):
    loops = list(schedule.loops(0))
    place = data.draw(st.integers(0, len(loops) - 1))
    assert list(schedule.loops(loops[place].first_step)) == loops[place:]


@given(_SCHEDULES, st.data())
def test_a_run_resumed_at_any_step_has_all_remaining_events(schedule, data):
    start = data.draw(st.integers(0, schedule.total_steps - 1))
    whole, tail = list(schedule.loops(0)), list(schedule.loops(start))
    covered = [step for loop in tail for step in range(loop.first_step, loop.end_step)]
    assert covered == list(range(start, schedule.total_steps))
    for event in ("report", "evaluate", "checkpoint"):
        assert _ends(tail, event) == {end for end in _ends(whole, event) if end > start}


def test_a_finished_run_has_no_loops_left():
    assert list(Schedule(10, 5, 5, 5, 5).loops(10)) == []
    assert list(Schedule(10, 5, 5, 5, 5).loops(11)) == []


def test_a_run_of_two_epochs_of_five_steps_by_three():
    assert list(Schedule(10, 5, 3, evaluate_every=10, checkpoint_every=4).loops(0)) == [
        Loop(0, 3),
        Loop(3, 1, report=True, checkpoint=True),
        Loop(4, 1, report=True),
        Loop(5, 3, report=True, checkpoint=True),
        Loop(8, 2, report=True, evaluate=True, checkpoint=True),
    ]


@given(_SCHEDULES, st.data())
def test_a_skipped_step_is_a_loop_of_its_own_and_moves_no_event(schedule, data):
    steps = st.sets(st.integers(0, schedule.total_steps - 1), max_size=5)
    skipped = frozenset(data.draw(steps))
    loops = [*dataclasses.replace(schedule, skipped=skipped).loops(0)]
    whole = [*schedule.loops(0)]
    assert [loop.first_step for loop in loops if loop.skip] == sorted(skipped)
    assert all(loop.num_steps == 1 for loop in loops if loop.skip)
    assert [loop.first_step for loop in loops[1:]] == [loop.end_step for loop in loops[:-1]]
    assert loops[-1].end_step == schedule.total_steps
    for event in ("report", "evaluate", "checkpoint"):
        assert _ends(loops, event) == _ends(whole, event)


_WITH_PERIODS = st.builds(
    Schedule,
    total_steps=st.integers(1, 400),
    steps_per_epoch=st.integers(1, 100),
    steps_per_loop=st.integers(1, 120),
    evaluate_every=st.integers(0, 150),
    checkpoint_every=st.integers(0, 150),
    period=st.integers(1, 60),
)


def _agreements(schedule):
    """The steps after which replicas have agreed, by the rule in words."""
    per_epoch, found = schedule.steps_per_epoch, {schedule.total_steps}
    for step in range(1, schedule.total_steps + 1):
        within = step % per_epoch
        if within == 0 or within % schedule.period == 0:
            found.add(step)
    return sorted(found)


@given(_WITH_PERIODS)
def test_loops_end_with_agreements(schedule):
    assert {loop.end_step for loop in schedule.loops(0)} <= {*_agreements(schedule)}


@given(_WITH_PERIODS)
def test_what_is_due_between_agreements_is_done_at_the_second(schedule):
    agreements, loops = _agreements(schedule), list(schedule.loops(0))
    for event in ("evaluate", "checkpoint"):
        due = _multiples(getattr(schedule, f"{event}_every"), schedule.total_steps)
        at = {next(step for step in agreements if step >= one) for one in due}
        assert _ends(loops, event) == at


@given(_WITH_PERIODS)
def test_a_loop_is_made_of_its_periods(schedule):
    agreements = {0, *_agreements(schedule)}
    for loop in schedule.loops(0):
        parts = schedule.periods(loop)
        assert [part.first_step for part in parts[1:]] == [part.end_step for part in parts[:-1]]
        assert (parts[0].first_step, parts[-1].end_step) == (loop.first_step, loop.end_step)
        assert {part.first_step for part in parts} <= agreements


@given(_SCHEDULES, st.frozensets(st.integers(0, 400), max_size=3))
def test_a_cut_ends_a_loop_and_changes_nothing_else(schedule, cuts):
    plain, cut = ([*dataclasses.replace(schedule, cuts=own).loops(0)] for own in ((), cuts))
    assert {loop.end_step for loop in cut} >= {
        one for one in cuts if 0 < one < schedule.total_steps
    }
    for event in ("report", "evaluate", "checkpoint"):
        assert _ends(cut, event) == _ends(plain, event)
    assert sum(loop.num_steps for loop in cut) == schedule.total_steps
