"""What does the trainer ask of every strategy?

`Runtime` is the interface: each strategy implements it in a file of its own, and nothing outside this
folder asks which one it has. A runtime is given mathematics (`Program`) and input (`ReplicaInput`) and
keeps the training state between calls; the trainer decides when to run, to evaluate and to save.
"""

import abc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from strategies.choose import Choice
from strategies.cluster.spec import ClusterSpec
from strategies.rendezvous.membership import Membership


class State:
    """What training changes, as host arrays: weights, their optimizer's slots, and layer state.

    `weights[i]` has any shape; `slots[i]` are the arrays that the optimizer keeps for it. `layer_state`
    has the model's other variables: averages of batch normalization, frozen weights, seeds and the like.
    """

    def __init__(
        self,
        weights: Sequence[np.ndarray],
        slots: Sequence[Sequence[np.ndarray]],
        layer_state: Sequence[np.ndarray] = (),
    ):
        self.weights = list(weights)
        self.slots = [list(one) for one in slots]
        self.layer_state = list(layer_state)

    @property
    def parts(self) -> tuple[list, list, list]:
        """(weights, slots, layer state): the nest in which a runtime holds a state."""
        return self.weights, self.slots, self.layer_state


class Program(Protocol):
    """The mathematics of one step, as pure functions of tensors: callable on any device.

    A batch is `(*features, *targets, example_weights)`: arrays [b, ...], of which the last is float32 [b]
    with 0 for padding. Sums are one float32 vector over the batch, so that replicas can add theirs: first
    the sum of the losses, last the number of examples. Terms are the tensors that replicas add in a step:
    the gradients of the *summed* loss, shaped like the weights, then the changes of layer state.
    """

    @property
    def num_sums(self) -> int:
        """The length of the sums."""

    @property
    def term_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the terms."""

    @property
    def uses_xla(self) -> bool:
        """Whether a CPU or GPU runs it compiled by XLA, or else as a plain graph."""

    @property
    def shares_statistics(self) -> bool:
        """Whether a step's gradients need sums over the shares of all replicas."""

    def gradients(
        self,
        weights: list,
        batch: tuple,
        layer_state: list,
        key: "Key",
        add: Callable[[Any], Any] | None = None,
    ) -> tuple[list, Any]:
        """The batch's terms and its sums.

        `add`: a graph function of float32 [n] that adds it over all replicas, each of which calls it
        equally often; None: this batch is the whole one. A program that `shares_statistics` calls it.
        """

    def mean(self, terms: list, count: Any) -> list:
        """The terms' means over `count` examples, their gradients clipped where the config says so."""

    def update(self, weights: list, slots: list, terms: list) -> tuple[list, list]:
        """Weights and slots after the optimizer applied the gradients among these mean terms."""

    def advance(self, layer_state: list, terms: list) -> list:
        """Layer state after the changes among these mean terms."""

    def evaluated(self, weights: list, slots: list) -> list:
        """The weights to call `sums` with: these, or averages that the optimizer keeps."""

    def sums(self, weights: list, batch: tuple, layer_state: list) -> Any:
        """The batch's sums, without gradients, as for evaluation."""

    def initial_slots(self, weights: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """The optimizer's slots for weights of these shapes, before the first step."""


class Key(NamedTuple):
    """Which part of which batch: what layers draw follows from it, and not from who computes it.

    `step` is counted from 0 over the whole run. `share` is the number of this part of the global batch,
    where the batch is divided into equal parts of this size.
    """

    step: Any
    share: Any


class ReplicaInput(Protocol):
    """One replica's share of the input, an element for each loop."""

    resident: tuple[np.ndarray, ...]
    """Arrays to keep on every device for the whole run; empty where batches are streamed."""

    def stacked_batches(self, resident: tuple, element: tuple) -> tuple:
        """`(*features, *targets, example_weights)` of one element: arrays [k, b, ...].

        A graph function: `resident` are the arrays of that name as tensors, on the replica's device.
        """


class Runtime(abc.ABC):
    """How this process trains: on which devices, and what it exchanges with which tasks.

    Every call that waits for other tasks may raise `Resumable`: a peer, a server or the TPU was lost.
    """

    name: str
    """The strategy."""
    reason: str
    """Why it was chosen, in one sentence."""
    num_replicas: int
    """How many replicas share the global batch of a step, over all tasks."""
    local_replicas: range
    """Those of them whose input this process reads."""
    sync_mode: str
    """What the replicas exchange: one of the values of `sync.mode`."""
    serves_only = False
    """True: this task only serves others (`serve`), and the methods from `start` on are not for it."""
    device_type = "CPU"
    """TensorFlow's name for the kind of the local devices."""
    adds_in_order = True
    """Whether replicas' gradients are added pairwise, in the order of the replicas."""

    @classmethod
    @abc.abstractmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None
    ) -> "Runtime":
        """The runtime of a choice of this strategy; the arguments are those of `create.create`."""

    @property
    def adds_within_step(self) -> bool:
        """Whether it runs a program that `shares_statistics`."""
        return False

    def broadcast(self, values: Any) -> Any:
        """The leader's values on every task.

        Args:
          values: a nest of arrays, whose shapes and dtypes are the same on every task.
        """
        return values

    def steps_per_loop(self, report_every: int) -> int | None:
        """Steps in one loop where the config leaves it open; None: as many as the input allows.

        Args:
          report_every: the most steps there are between two calls of `collect`.
        """
        return None

    def waiting_for(self) -> str:
        """The peers that the call in progress waits for, as in "worker 1"; "" where it is unknown.

        Any thread may ask.
        """
        return ""

    def set_peer_timeout(self, seconds: float) -> None:  # noqa: B027, most have nothing to bound.
        """Limits how long a call waits for a live peer that sends nothing, where the runtime can."""

    @abc.abstractmethod
    def start(
        self,
        program: Program,
        state: State,
        train: ReplicaInput,
        test: ReplicaInput,
        num_steps: int,
    ) -> None:
        """Places state and resident data on the devices.

        Args:
          program: the mathematics of a step.
          state: where training starts, the same on every task.
          train: the input of `run`.
          test: the input of `evaluate`.
          num_steps: how many steps the whole run has, including those before a resume.
        """

    @abc.abstractmethod
    def run(self, first_step: int, num_steps: int, elements: tuple, stop: bool) -> bool:
        """Takes the steps [first_step, first_step + num_steps), and may return before they are done.

        Args:
          first_step: counted from 0 over the whole run.
          num_steps: at most the k of the stacked batches.
          elements: one element of `train` for each local replica, in their order.
          stop: whether this task was asked to stop.

        Returns:
          Whether any task was asked to stop. All tasks get the same answer.
        """

    @abc.abstractmethod
    def collect(self) -> np.ndarray:
        """float64 [num_sums] over all steps since the last call, once those in progress are done."""

    @abc.abstractmethod
    def evaluate(self, batches: Iterator[tuple]) -> np.ndarray:
        """float64 [blocks, num_sums]: the sums of each block of the test set, in its order.

        Args:
          batches: tuples of one element of `test` for each local replica; their batches are the blocks.
        """

    @abc.abstractmethod
    def restore(self, state: State) -> None:
        """Replaces the state by one of the same shapes. Call it between `collect` and `run`."""

    @abc.abstractmethod
    def state(self) -> State:
        """The state after the last step. Call `collect` first."""

    def serve(self, wait: Callable[[], int]) -> int:
        """Serves the other tasks until `wait` returns, and returns its value, the exit code.

        Raises AssertionError where the runtime is not `serves_only`.
        """
        raise AssertionError(f"{self.name} has no task that only serves")
