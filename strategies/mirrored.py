"""How do the devices of one machine train together?

Each holds a copy of the state (`replicated.py`), and `tf.distribute` adds their gradients. One device has
nothing to exchange, so its whole loop is one compiled function; several leave the compiled code only for
the all-reduce of one vector: all terms of the step, with the batch's sums behind them.

Several replicas on a CPU share one processor. To compute them one by one would turn a step into many
small ones, so their batches are joined again and the processor computes them as one.
"""

import numpy as np
import tensorflow as tf

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.compiled_loop import CompiledProgram, flatten, tail
from strategies.rendezvous.membership import Membership
from strategies.replicated import ReplicatedRuntime
from strategies.runtime import Key, Program, ReplicaInput
from strategies.state import State


class MirroredRuntime(ReplicatedRuntime):
    """Synchronous data parallelism: all replicas take every step together."""

    name = "mirrored"

    @classmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None
    ) -> "MirroredRuntime":
        del cluster, peers  # A single task: `choose` made sure.
        if devices[0].startswith("CPU"):
            one = tf.distribute.MirroredStrategy(devices[:1])
            return cls(choice.reason, one, replicas_per_device=len(devices))
        return cls(choice.reason, tf.distribute.MirroredStrategy(devices))

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
        self._tail = tail(program)

    @property
    def adds_within_step(self) -> bool:
        # Several devices would have to leave the gradients' function in its middle.
        return self.strategy.num_replicas_in_sync == 1

    def run(self, first_step: int, num_steps: int, elements: tuple, stop: bool) -> bool:
        single = self.strategy.num_replicas_in_sync == 1
        loop = self._fused_loop if single else self._exchanging_loop
        sums, stops = loop(
            self.resident,
            self.per_device(self.join_replicas(elements)),
            tf.constant(first_step),
            tf.constant(num_steps),
            tf.constant(float(stop)),
        )
        self.pending.append(sums)
        return bool(stops > 0)

    def evaluate_blocks(self, elements: tuple) -> np.ndarray:
        elements = self.per_device(self.join_replicas(elements))
        return self._evaluation(self.test_resident, elements).numpy()

    def device_of(self, context: tf.distribute.ReplicaContext) -> str:
        """Where to pin a replica's operations: an all-reduce in a loop fails without a destination."""
        return self.devices[_number(context) - self.first_device]

    # One device: nothing leaves the compiled function.

    @tf.function(autograph=False)
    def _fused_loop(self, resident, elements, first_step, num_steps, stop):
        def replica(resident, element):
            stacked_batches = self.train.stacked_batches(resident, element)
            state, sums = self._compiled.fused_steps(
                self.read_state(), stacked_batches, num_steps, Key(first_step, 0)
            )
            self.assign_state(state)
            return sums

        return self.strategy.run(replica, args=(resident, elements)), stop

    # Several devices: compiled gradients, one all-reduce, compiled update.

    @tf.function
    def _exchanging_loop(self, resident, elements, first_step, num_steps, stop):
        stacked_batches = self.strategy.run(self.train.stacked_batches, args=(resident, elements))
        total = tf.zeros([self._tail])
        for i in tf.range(num_steps):
            args = i, first_step, stacked_batches, stop
            last = self.strategy.run(self._exchanging_step, args=args)
            total += self.strategy.experimental_local_results(last)[0]
        return total[:-1], total[-1]

    def _exchanging_step(self, i, first_step, stacked_batches, stop):
        """float32 [tail]: the sums of one step over all replicas, then the sum of their `stop`."""
        state = self.read_state()
        weights, _, layer_state = state
        context = tf.distribute.get_replica_context()
        key = Key(first_step + i, _number(context))
        with tf.device(self.device_of(context)):
            # Sliced outside compiled code: as its argument, an index would be compiled in, and every
            # step of the first loop would wait for a compilation of its own.
            batch = tuple(tf.gather(array, i) for array in stacked_batches)
            terms, sums = self._compiled.gradients(weights, batch, layer_state, key)
            mine = tf.concat([flatten(terms), sums, stop[tf.newaxis]], 0)
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, mine)
        self.assign_state(self._compiled.update(state, total))
        return total[-self._tail :]

    @tf.function(autograph=False)
    def _evaluation(self, resident, elements):
        sums = self.strategy.run(self._replica_sums, args=(resident, elements))
        return self.strategy.experimental_local_results(sums)[0]

    def _replica_sums(self, resident, element):
        """float32 [k * num_replicas, num_sums]: every block's sums, on each device.

        A device fills in the blocks of its own replicas; adding zeros is exact, so neither the number
        of devices nor the order of the sum changes a bit.
        """
        context = tf.distribute.get_replica_context()
        stacked_batches = self.test.stacked_batches(resident, element)
        with tf.device(self.device_of(context)):
            blocks = self.split_blocks(stacked_batches, self.replicas_per_device)
            mine = self._compiled.block_sums(self.read_state(), blocks)
            mine = tf.reshape(mine, [-1, 1, self.replicas_per_device, self.program.num_sums])
            devices = self.strategy.num_replicas_in_sync
            own = tf.one_hot(context.replica_id_in_sync_group, devices)
            blocks = tf.identity(mine * own[:, tf.newaxis, tf.newaxis])
        blocks = context.all_reduce(tf.distribute.ReduceOp.SUM, blocks)
        return tf.reshape(blocks, [-1, self.program.num_sums])


def _number(context: tf.distribute.ReplicaContext) -> int:
    """The replica's, among those of all tasks."""
    return int(tf.get_static_value(context.replica_id_in_sync_group))
