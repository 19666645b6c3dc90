"""How do workers on several machines train together, without parameter servers?

Each holds a copy of the state (`replicated.py`) and computes the gradients of its blocks of the batch in
compiled code; between one step's gradients and their update a `SocketAllReduce` adds the terms of all
workers, over this program's own connections.

A worker's blocks are whole subtrees of the sum over all blocks (`leaf_runs.py`): one, where the workers
have equal shares of a power of two. Then one compiled call computes a step's update and the next step's
terms, so that the cost of a call is paid once a step. Of several, and once blocks have been moved, each
subtree is a call of its own: of subtrees of one size only the first has to be compiled.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from strategies import block_calls
from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.collectives.all_reduce import SocketAllReduce, aligned
from strategies.compiled_loop import CompiledProgram, graph_function, tail
from strategies.peers import PeersRuntime, flattened
from strategies.rendezvous.membership import Membership
from strategies.replicated import ReplicatedRuntime
from strategies.runtime import Key, Program, ReplicaInput
from strategies.state import State

_CONNECT_TIMEOUT_S = 60.0  # Short: the roll call has shown that every worker is running.


class MultiWorkerRuntime(PeersRuntime, ReplicatedRuntime):
    """Synchronous data parallelism over the chief and workers of a cluster."""

    name = "multi_worker"
    adds_within_step = True
    _takes_turns = True  # Whether one compiled call computes an update and the next terms.

    def __init__(
        self, reason: str, device: str, replicas: int, rank: int, exchange: SocketAllReduce
    ):
        one = tf.distribute.MirroredStrategy([device])
        super().__init__(reason, one, replicas_per_device=replicas)
        self.num_workers = exchange.num_workers
        self.num_replicas = replicas * self.num_workers
        self.local_replicas = range(rank * replicas, (rank + 1) * replicas)
        self.rank = rank
        self.exchange = exchange
        self._clock = _Clock()

    @classmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None
    ) -> "MultiWorkerRuntime":
        assert peers is not None  # It is a strategy of several tasks.
        exchange = SocketAllReduce.connect(
            cluster, peers.run, peers.security, _CONNECT_TIMEOUT_S, choice.shares_memory
        )
        return cls(choice.reason, devices[0], len(devices), cluster.process_index, exchange)

    def start(
        self,
        program: Program,
        state: State,
        train: ReplicaInput,
        test: ReplicaInput,
        num_steps: int,
    ) -> None:
        super().start(program, state, train, test, num_steps)
        self._compiled = CompiledProgram(program)
        self._compiled_turn = graph_function(program, self._turn)
        self._compiled_subtrees = graph_function(program, self._subtrees)
        self._compiled_step = graph_function(program, self._step)
        self._tail = tail(program)
        size = sum(int(np.prod(shape)) for shape in program.term_shapes)
        self._total = aligned(size + self._tail)
        # Without tf.distribute's wrapping compiled code updates them in place.
        self.variables = tf.nest.map_structure(self._local, self.variables)
        self._divide(train, test)

    def move_blocks(self, train: ReplicaInput, test: ReplicaInput) -> None:
        self._takes_turns = False
        self._divide(train, test)

    def _divide(self, train: ReplicaInput, test: ReplicaInput) -> None:
        self.train, self.test = train, test
        self._runs = train.runs.of_groups(self.replicas_per_device)
        self._test_runs = test.runs.of_groups(self.replicas_per_device)
        self._clock = _Clock()

    def computed(self) -> np.ndarray:
        own = np.zeros((self.num_workers, 3), np.float32)
        own[self.rank] = self._clock.lap()
        total = np.empty(own.size, np.float32)
        self.exchange.sum([own], total)
        return total.reshape(own.shape).astype(np.float64)

    def run(self, first_step: int, num_steps: int, elements: tuple, stop: bool) -> bool:
        (element,) = self.join_replicas(elements)
        args = (
            self._local(self.resident),
            element,
            tf.constant(first_step),
            tf.constant(num_steps),
            tf.constant(float(stop)),
        )
        if self.num_workers == 1:
            sums, stops = self._fused_loop(*args)
        else:
            sums, stops = self._timed_loop(num_steps, *args)
        self.pending.append(sums)
        return bool(stops > 0)

    def _timed_loop(self, num_steps: int, *args: Any) -> tuple:
        roots, loop = self._runs.roots[self.rank], self._exchanging_loop
        num_traces = loop.experimental_get_tracing_count()
        began, waited_s = time.perf_counter(), self._clock.waited_s
        sizes = tuple(map(len, roots))
        takes_turns = len(sizes) == 1 and self._takes_turns
        found = self.called(loop, *args, tf.constant(roots[0].start), sizes, takes_turns)
        seconds = time.perf_counter() - began
        if loop.experimental_get_tracing_count() == num_traces:  # Else it was compiled meanwhile.
            self._clock.add(seconds, seconds - (self._clock.waited_s - waited_s), num_steps)
        return found

    def evaluate_blocks(self, elements: tuple) -> np.ndarray:
        (element,) = self.join_replicas(elements)
        run, num_sums = self._test_runs.runs[self.rank], self.program.num_sums
        mine = self._evaluation(self._local(self.test_resident), element, len(run)).numpy()
        return self.all_blocks(mine.reshape(-1, len(run), num_sums), self._test_runs)

    def _local(self, value):
        """What tf.distribute holds for the one device here."""
        return self.strategy.experimental_local_results(value)[0]

    # A single worker: nothing leaves the compiled function.

    @tf.function(autograph=False)
    def _fused_loop(self, resident, element, first_step, num_steps, stop):
        with tf.device(self.devices[0]):
            stacked_batches = self.train.stacked_batches(resident, element)
            state, sums = self._compiled.fused_steps(
                self.read_state(), stacked_batches, num_steps, Key(first_step, 0)
            )
            self.assign_state(state)
            return sums, stop

    # Several workers: an exchange between compiled gradients and their compiled update.

    @tf.function(autograph=False)
    def _exchanging_loop(
        self, resident, element, first_step, num_steps, stop, first_block, sizes, turns
    ):
        """`sizes`: of this worker's subtrees, the first of which begins with `first_block`.

        `turns`: whether one call computes an update and the next terms.
        """
        stacked_batches = self.train.stacked_batches(resident, element)
        calls = block_calls.calls(self.program, stacked_batches, first_block, sizes)
        found = self._terms(calls, 0, first_step)
        so_far = tf.zeros([self._tail])

        def step(i, found, so_far):
            total = self._all_reduce(found, stop)
            if turns:
                found, so_far = self._compiled_turn(total, so_far, *calls[0].at(i, first_step))
            else:
                self._compiled_step(total)
                found = self._terms(calls, i, first_step)
                so_far += total[-self._tail :]
            return i + 1, found, so_far

        _, found, so_far = tf.while_loop(
            lambda i, *_: i < num_steps,
            step,
            (tf.constant(1), found, so_far),
            parallel_iterations=1,
        )
        total = self._all_reduce(found, stop)
        self._compiled_step(total)
        so_far += total[-self._tail :]
        return so_far[:-1], so_far[-1]

    def _terms(self, calls, i, first_step):
        """The terms and sums of each subtree, in step i of the loop."""
        return [pair for call in calls for pair in self._compiled_subtrees(*call.at(i, first_step))]

    def _turn(self, total, so_far, batch, key, sizes):
        """One step's update, and the terms of the next."""
        self._compiled_step(total)
        return self._subtrees(batch, key, sizes), so_far + total[-self._tail :]

    def _subtrees(self, batch, key, sizes):
        weights, _, layer_state = self.read_state()
        return self.program.partial_sums(
            weights, batch, layer_state, key, sizes, self._add_within_step
        )

    def _step(self, total):
        """Updates the state."""
        self.assign_state(self._compiled.update(self.read_state(), total))

    def _all_reduce(self, found, stop):
        """float32 [n + tail]: all terms, sums and `stop`, added over the blocks of all workers."""
        parts, grouped = flattened(found, stop[tf.newaxis])

        def exchange(*parts: np.ndarray) -> np.ndarray:
            return self._exchange_sums(grouped(parts), self._total)

        total = tf.numpy_function(exchange, parts, tf.float32, stateful=True)
        total.set_shape([self._total.size])
        return total

    def _add_within_step(self, vectors):
        """float32 [n]: the sum of the vectors of all workers' subtrees, one for each."""

        def exchange(*own: np.ndarray) -> np.ndarray:
            return self._exchange_sums([[one] for one in own], aligned(own[0].size))

        total = tf.numpy_function(exchange, vectors, tf.float32, stateful=True)
        total.set_shape(vectors[0].shape)
        return total

    def _exchange_sums(self, sums: Sequence[Sequence[np.ndarray]], total: np.ndarray) -> np.ndarray:
        with self.exchanging():
            self.exchange.sum_runs(sums, total, self._runs)
        return total

    @contextlib.contextmanager
    def exchanging(self) -> Iterator[None]:
        """As a peer's, and counts how long it took."""
        began = time.perf_counter()
        with super().exchanging():
            yield
        self._clock.waited_s += time.perf_counter() - began

    @tf.function(autograph=False)
    def _evaluation(self, resident, element, blocks):
        """float32 [k * blocks, num_sums]: the sums of this worker's blocks."""
        with tf.device(self.devices[0]):
            split = self.split_blocks(self.test.stacked_batches(resident, element), blocks)
            # In parts of one shape, whatever the number of blocks: so they are compiled once.
            parts = zip(*(tf.split(array, blocks) for array in split), strict=True)
            sums = [self._compiled.block_sums(self.read_state(), part) for part in parts]
            return tf.concat(sums, 0)


class _Clock:
    """How long this worker's steps take, and how long it computes in them, without waits for others."""

    def __init__(self) -> None:
        self.waited_s = self._seconds = self._computed_s = 0.0
        self._steps = 0

    def add(self, seconds: float, computed_s: float, steps: int) -> None:
        self._seconds += seconds
        self._computed_s += computed_s
        self._steps += steps

    def lap(self) -> tuple[float, float, int]:
        """Both, and the number of steps, since the last call."""
        found = self._seconds, self._computed_s, self._steps
        self._seconds, self._computed_s, self._steps = 0.0, 0.0, 0
        return found
