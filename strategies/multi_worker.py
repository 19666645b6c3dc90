"""How do workers on several machines train together, without parameter servers?

Each holds a copy of the state (`replicated.py`) and computes the gradients of its share of the batch in
compiled code; between one step's gradients and their update a `SocketAllReduce` adds those of all
workers, over this program's own connections. One compiled call computes a step's update and the next
step's gradients, so that the cost of a call is paid once a step.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.collectives.all_reduce import PeerLost, SocketAllReduce, aligned
from strategies.compiled_loop import TAIL, CompiledProgram
from strategies.rendezvous.membership import Membership
from strategies.replicated import ReplicatedRuntime
from strategies.runtime import NUM_SUMS, Program, ReplicaInput, State

_CONNECT_TIMEOUT_S = 60.0  # Short: the roll call has shown that every worker is running.


class MultiWorkerRuntime(ReplicatedRuntime):
    """Synchronous data parallelism over the chief and workers of a cluster."""

    name = "multi_worker"

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
        exchange = SocketAllReduce.connect(cluster, peers.token, _CONNECT_TIMEOUT_S)
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
        self._compiled = CompiledProgram(program)
        size = sum(weight.size for weight in state.weights)
        self._total = aligned(size + TAIL)
        # Without tf.distribute's wrapping compiled code updates them in place.
        self.weights, self.slots = tf.nest.map_structure(self._local, (self.weights, self.slots))

    def run(self, first_step: int, num_steps: int, elements: tuple, stop: bool) -> bool:
        loop = self._fused_loop if self._exchange.num_workers == 1 else self._exchanging_loop
        (element,) = self.join_replicas(elements)
        try:
            sums, stops = loop(
                self._local(self.resident),
                element,
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
        mine = mine.reshape(-1, 1, len(self.local_replicas), NUM_SUMS)
        own = np.zeros((len(mine), self._exchange.num_workers, *mine.shape[2:]), np.float32)
        own[:, self._rank : self._rank + 1] = mine
        blocks = np.empty(own.size, np.float32)
        self._exchange.sum([own.reshape(-1)], blocks)
        return blocks.reshape(-1, NUM_SUMS)

    def _local(self, value):
        """What tf.distribute holds for the one device here."""
        return self.strategy.experimental_local_results(value)[0]

    # A single worker: nothing leaves the compiled function.

    @tf.function(autograph=False)
    def _fused_loop(self, resident, element, num_steps, stop):
        with tf.device(self.devices[0]):
            stacked_batches = self.train.stacked_batches(resident, element)
            weights, slots, sums = self._compiled.fused_steps(
                *self.read_state(), stacked_batches, num_steps
            )
            self.assign_state(weights, slots)
            return sums, stop

    # Several workers: an exchange between compiled gradients and their compiled update.

    @tf.function(autograph=False)
    def _exchanging_loop(self, resident, element, num_steps, stop):
        stacked_batches = self.train.stacked_batches(resident, element)
        gradients, sums = self._compiled.gradients(self.read_state()[0], _row(stacked_batches, 0))
        so_far = tf.zeros([TAIL])

        def step(i, gradients, sums, so_far):
            total = self._all_reduce(gradients, sums, stop)
            return i + 1, *self._compiled_turn(total, so_far, _row(stacked_batches, i))

        _, gradients, sums, so_far = tf.while_loop(
            lambda i, *_: i < num_steps,
            step,
            (tf.constant(1), gradients, sums, so_far),
            parallel_iterations=1,
        )
        total = self._all_reduce(gradients, sums, stop)
        self._compiled_step(total)
        so_far += total[-TAIL:]
        return so_far[:NUM_SUMS], so_far[NUM_SUMS]

    @tf.function(jit_compile=True, autograph=False)
    def _compiled_turn(self, total, so_far, batch):
        """One step's update, and the gradients of the next."""
        weights = self._compiled_step(total)
        gradients, sums = self.program.gradients(weights, batch)
        return gradients, sums, so_far + total[-TAIL:]

    @tf.function(jit_compile=True, autograph=False)
    def _compiled_step(self, total):
        """Updates the state and returns the weights."""
        weights, slots = self._compiled.update(*self.read_state(), total)
        self.assign_state(weights, slots)
        return weights

    def _all_reduce(self, gradients, sums, stop):
        """float32 [n + TAIL]: all gradients, sums and `stop`, added over the workers."""
        total = tf.numpy_function(
            self._exchange_parts, [*gradients, sums, stop[tf.newaxis]], tf.float32, stateful=True
        )
        total.set_shape([self._total.size])
        return total

    def _exchange_parts(self, *parts: np.ndarray) -> np.ndarray:
        try:
            self._exchange.sum(parts, self._total)
        except PeerLost as error:
            self._failure = error  # TensorFlow would raise another error in its place.
            raise
        return self._total

    @tf.function(autograph=False)
    def _evaluation(self, resident, element):
        """float32 [k * local replicas, NUM_SUMS]: the sums of the blocks of this worker's replicas."""
        with tf.device(self.devices[0]):
            blocks = self.split_replicas(self.test.stacked_batches(resident, element))
            return self._compiled.block_sums(self.read_state()[0], blocks)


def _row(stacked_batches: tuple, i) -> tuple:
    # Outside compiled code, which was measured to be slower with all the batches as its argument.
    return tuple(tf.gather(array, i) for array in stacked_batches)
