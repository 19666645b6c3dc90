"""Do windows cover each loop, and is staleness bounded by how many may be unfinished?"""

import collections
import random

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies.parameter_server.windows import Windows
from strategies.sync.asynchronous import Asynchronous, AsyncWindow


@given(steps=st.integers(1, 9), rows=st.integers(1, 30), data=st.data())
@settings(max_examples=50)
def test_windows_have_the_rows_of_a_loop_in_order_and_one_shape(steps, rows, data):
    num_steps = data.draw(st.integers(1, rows))
    element = (tf.range(rows) + 1, tf.random.normal([rows, 2]))
    windows = [*Windows(AsyncWindow(window_steps=steps), 2).cut(num_steps, element)]
    firsts = [first for first, _, _ in windows]
    assert firsts == list(range(0, num_steps, steps))
    found = np.concatenate([own[0][:count] for _, count, own in windows])
    np.testing.assert_array_equal(found, element[0][:num_steps])
    assert {tuple(map(len, own)) for _, _, own in windows} == {(min(steps, rows),) * 2}


class _Push:
    """A window in progress on a server that counts pushes. `fetch`: it ends, as others may before it."""

    pushes = 0

    def __init__(self, server, others):
        self.pulled, self._server, self._others = server["pushes"], server, others
        self.staleness = None

    def end(self):
        if self.staleness is None:
            self.staleness = self._server["pushes"] - self.pulled
            self._server["pushes"] += 1

    def fetch(self):
        for other in random.sample([*self._others], len(self._others)):
            other.end()  # The worst case: all others that are in progress push first.
        self.end()


@pytest.mark.parametrize("bound", range(6))
def test_staleness_stays_within_its_bound(bound):
    windows = Windows(Asynchronous(max_staleness=bound), workers=9)
    server, found = {"pushes": 0}, []
    in_progress: collections.deque = collections.deque(maxlen=bound // 2 + 1)
    for _ in range(100):
        windows.await_place()
        push = _Push(server, in_progress)
        in_progress.append(push)
        found.append(push)
        windows.started(push)
    assert max(push.staleness for push in found if push.staleness is not None) <= bound
    assert windows.max_overlap == bound // 2 + 1


def test_a_window_takes_the_wanted_time_at_the_mean_speed():
    windows = Windows(AsyncWindow(window_ms=50), 2)
    assert windows.steps_per_loop(1000) == 125
    windows.all_finished(steps=100, busy_s=2.0)
    assert windows.steps == 2  # 20 ms a step, rounded half to even.
    windows.all_finished(steps=1000, busy_s=0.001)
    assert windows.steps == 500


def test_windows_are_counted_also_those_of_earlier_starts():
    windows = Windows(AsyncWindow(window_steps=7), 1)
    element = (np.zeros((24, 2), np.int32),)
    assert windows.number_in(0) == 0
    assert [steps for _, steps, _ in windows.cut(24, element)] == [7, 7, 7, 3]
    assert windows.number_in(24) == 4 and windows.number_in(96) == 16
