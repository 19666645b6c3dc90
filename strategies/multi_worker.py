"""How do workers on several machines train together, without parameter servers?

Each holds a copy of the state (`replicated.py`) and computes the gradients of its share of the batch in
compiled code; between one step's gradients and their update a `SocketAllReduce` adds the terms of all
workers, over this program's own connections. One compiled call computes a step's update and the next
step's terms, so that the cost of a call is paid once a step.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.collectives.all_reduce import PeerLost, SocketAllReduce, aligned
from strategies.compiled_loop import CompiledProgram, graph_function, tail
from strategies.rendezvous.membership import Membership
from strategies.replicated import ReplicatedRuntime
from strategies.runtime import Key, Program, ReplicaInput, State

_CONNECT_TIMEOUT_S = 60.0  # Short: the roll call has shown that every worker is running.


class MultiWorkerRuntime(ReplicatedRuntime):
    """Synchronous data parallelism over the chief and workers of a cluster."""

    name = "multi_worker"
    adds_within_step = True

    def __init__(
        self, reason: str, device: str, replicas: int, rank: int, exchange: SocketAllReduce
    ):
        one = tf.distribute.MirroredStrategy([device])
        super().__init__(reason, one, replicas_per_device=replicas)
        self.num_replicas = replicas * exchange.num_workers
        self.local_replicas = range(rank * replicas, (rank + 1) * replicas)
        self._rank = rank
        self._exchange = exchange
        self._failure: PeerLost | None = None

    @classmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None
    ) -> "MultiWorkerRuntime":
        assert peers is not None  # It is a strategy of several tasks.
        exchange = SocketAllReduce.connect(cluster, peers.run, peers.security, _CONNECT_TIMEOUT_S)
        return cls(choice.reason, devices[0], len(devices), cluster.process_index, exchange)

    def broadcast(self, values: Any) -> Any:
        arrays = [np.array(value, order="C") for value in tf.nest.flatten(values)]
        for array in arrays:
            self._exchange.broadcast(array)
        return tf.nest.pack_sequence_as(values, arrays)

    def waiting_for(self) -> str:
        return " and ".join(map(str, self._exchange.waiting_for))

    def set_peer_timeout(self, seconds: float) -> None:
        self._exchange.silence_s = seconds

    def start(
        self,
        program: Program,
        state: State,
        train: ReplicaInput,
        test: ReplicaInput,
        num_steps: int,
    ) -> None:
        super().start(program, state, train, test, num_steps)
        self._compiled = CompiledProgram(program, self._add_within_step)
        self._compiled_turn = graph_function(program, self._turn)
        self._compiled_step = graph_function(program, self._step)
        self._tail = tail(program)
        size = sum(int(np.prod(shape)) for shape in program.term_shapes)
        self._total = aligned(size + self._tail)
        # Without tf.distribute's wrapping compiled code updates them in place.
        self.variables = tf.nest.map_structure(self._local, self.variables)

    def run(self, first_step: int, num_steps: int, elements: tuple, stop: bool) -> bool:
        loop = self._fused_loop if self._exchange.num_workers == 1 else self._exchanging_loop
        (element,) = self.join_replicas(elements)
        try:
            sums, stops = loop(
                self._local(self.resident),
                element,
                tf.constant(first_step),
                tf.constant(num_steps),
                tf.constant(float(stop)),
            )
        except tf.errors.OpError:
            if self._failure:
                raise self._failure from None
            raise
        self.pending.append(sums)
        return bool(stops > 0)

    def evaluate_blocks(self, elements: tuple) -> np.ndarray:
        (element,) = self.join_replicas(elements)
        mine = self._evaluation(self._local(self.test_resident), element).numpy()
        num_sums = self.program.num_sums
        mine = mine.reshape(-1, 1, len(self.local_replicas), num_sums)
        own = np.zeros((len(mine), self._exchange.num_workers, *mine.shape[2:]), np.float32)
        own[:, self._rank : self._rank + 1] = mine
        blocks = np.empty(own.size, np.float32)
        self._exchange.sum([own.reshape(-1)], blocks)
        return blocks.reshape(-1, num_sums)

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
    def _exchanging_loop(self, resident, element, first_step, num_steps, stop):
        stacked_batches = self.train.stacked_batches(resident, element)
        weights, _, layer_state = self.read_state()
        terms, sums = self._compiled.gradients(
            weights, _row(stacked_batches, 0), layer_state, Key(first_step, self._rank)
        )
        so_far = tf.zeros([self._tail])

        def step(i, terms, sums, so_far):
            total = self._all_reduce(terms, sums, stop)
            batch = _row(stacked_batches, i)
            return i + 1, *self._compiled_turn(total, so_far, batch, first_step + i)

        _, terms, sums, so_far = tf.while_loop(
            lambda i, *_: i < num_steps,
            step,
            (tf.constant(1), terms, sums, so_far),
            parallel_iterations=1,
        )
        total = self._all_reduce(terms, sums, stop)
        self._compiled_step(total)
        so_far += total[-self._tail :]
        return so_far[:-1], so_far[-1]

    def _turn(self, total, so_far, batch, step):
        """One step's update, and the terms of the next."""
        weights, _, layer_state = self._compiled_step(total)
        key = Key(step, self._rank)
        terms, sums = self.program.gradients(
            weights, batch, layer_state, key, self._add_within_step
        )
        return terms, sums, so_far + total[-self._tail :]

    def _step(self, total):
        """Updates the state and returns it."""
        state = self._compiled.update(self.read_state(), total)
        self.assign_state(state)
        return state

    def _all_reduce(self, terms, sums, stop):
        """float32 [n + tail]: all terms, sums and `stop`, added over the workers."""
        total = tf.numpy_function(
            self._exchange_step, [*terms, sums, stop[tf.newaxis]], tf.float32, stateful=True
        )
        total.set_shape([self._total.size])
        return total

    def _exchange_step(self, *parts: np.ndarray) -> np.ndarray:
        return self._exchange_parts(parts, self._total)

    def _add_within_step(self, vector):
        """float32 [n]: the sum of all workers' vectors."""

        def exchange(own: np.ndarray) -> np.ndarray:
            return self._exchange_parts([own], aligned(own.size))

        total = tf.numpy_function(exchange, [vector], tf.float32, stateful=True)
        total.set_shape(vector.shape)
        return total

    def _exchange_parts(self, parts: Sequence[np.ndarray], total: np.ndarray) -> np.ndarray:
        try:
            self._exchange.sum(parts, total)
        except PeerLost as error:
            self._failure = error  # TensorFlow would raise another error in its place.
            raise
        return total

    @tf.function(autograph=False)
    def _evaluation(self, resident, element):
        """float32 [k * local replicas, num_sums]: the sums of the blocks of this worker's replicas."""
        with tf.device(self.devices[0]):
            blocks = self.split_replicas(self.test.stacked_batches(resident, element))
            return self._compiled.block_sums(self.read_state(), blocks)


def _row(stacked_batches: tuple, i) -> tuple:
    # Outside compiled code, which was measured to be slower with all the batches as its argument.
    return tuple(tf.gather(array, i) for array in stacked_batches)
