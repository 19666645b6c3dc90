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
from strategies.collectives.leaf_runs import LeafRuns
from strategies.held_state import HeldState
from strategies.rendezvous.membership import Membership
from strategies.state import State
from strategies.weight_pieces import Piece, RowsRead


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
    def tables(self) -> dict[int, RowsRead]:
        """The weights of which only rows are read, and only those change; a graph function for each."""

    @property
    def term_shapes(self) -> list[tuple[int, ...]]:
        """The shapes of the terms."""

    @property
    def moving_state(self) -> list[int]:
        """Which arrays of the layer state a step may change."""

    @property
    def uses_xla(self) -> bool:
        """Whether a CPU or GPU runs it compiled by XLA, or else as a plain graph."""

    @property
    def shares_statistics(self) -> bool:
        """Whether a step's gradients need sums over the shares of all replicas."""

    @property
    def connects_blocks(self) -> bool:
        """Whether a replica's blocks are computed in one call: they add sums, or wait for each other."""

    @property
    def cut_axes(self) -> tuple[list, list[list], list]:
        """Along which axis each weight, slot and array of layer state is cut among the parts of a model.

        None where every part has all of it.
        """

    @property
    def model_runs(self) -> LeafRuns:
        """The model blocks of each part."""

    def gradients(
        self,
        weights: list,
        batch: tuple,
        layer_state: list,
        key: "Key",
    ) -> tuple[list, Any]:
        """The terms and the sums of a batch that is the whole one, or one of equal shares of it."""

    def partial_sums(
        self,
        weights: list,
        batch: tuple,
        layer_state: list,
        key: "Key",
        sizes: Sequence[int],
        add: Callable[[list], Any] | None = None,
        add_parts: Callable[[list], Any] | None = None,
    ) -> list[tuple[list, Any]]:
        """The terms and the sums of each of several neighbouring subtrees of blocks (`LeafRuns`).

        Args:
          batch: the blocks of all of them, side by side.
          key: its share is the number of the first block.
          sizes: the number of blocks of each subtree.
          add: a graph function of a float32 [n] for each subtree that adds those of all workers, each of
            which calls it equally often; None: this batch is the whole one. A program that
            `shares_statistics` calls it.
          add_parts: such a function over the parts of a model, of a float32 [n] for each subtree of this
            part's `model_runs`. A program of a part calls it.
        """

    def mean(self, terms: list, count: Any) -> list:
        """The terms' means over `count` examples, their gradients clipped where the config says so."""

    def update(self, weights: list, slots: list, terms: list) -> tuple[list, list]:
        """Weights and slots after the optimizer applied the gradients among these mean terms."""

    def piece_update(self, pieces: Sequence[Piece]) -> Callable[[list, list, list, Any], tuple]:
        """The update of pieces of the weights, with the bits that they have in `update`.

        The function takes the pieces, their slots, the summed gradients of the pieces and the number of
        examples; it returns the pieces and their slots after the update.
        """

    def advance(self, layer_state: list, terms: list) -> list:
        """Layer state after the changes among these mean terms."""

    def evaluated(self, weights: list, slots: list) -> list:
        """The weights to call `sums` with: these, or averages that the optimizer keeps."""

    def sums(
        self,
        weights: list,
        batch: tuple,
        layer_state: list,
        add_parts: Callable[[list], Any] | None = None,
    ) -> Any:
        """The batch's sums, without gradients, as for evaluation. `add_parts`: as in `partial_sums`."""

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
    rows_per_step: int
    """How many of the stacked batches are one step of the run."""

    runs: LeafRuns
    """Which blocks of a global batch each replica has; in an evaluation each is a batch of its own."""

    def stacked_batches(self, resident: tuple, element: tuple) -> tuple:
        """`(*features, *targets, example_weights)` of one element: arrays [k, b, ...].

        A graph function: `resident` are the arrays of that name as tensors, on the replica's device.
        """


class Runtime(HeldState):
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
    num_workers = 1
    """The tasks among which the blocks of a batch may be moved; all have the same number of replicas."""
    exchange_s = 0.0
    """Seconds that this process has exchanged gradients so far, where it does so itself."""

    @classmethod
    @abc.abstractmethod
    def create(
        cls, choice: Choice, cluster: ClusterSpec, devices: list[str], peers: Membership | None
    ) -> "Runtime":
        """The runtime of a choice of this strategy; the arguments are those of `create.create`."""

    @property
    def evaluating_replicas(self) -> tuple[int, range]:
        """How many replicas share the test set's blocks, and which of them this process has."""
        return self.num_replicas, self.local_replicas

    def measures(self) -> dict[str, float]:
        """What to report of the agreements so far, beside metrics; the same on all tasks."""
        return {}

    def exchanged(self, steps: int) -> dict[str, int]:
        """How often the replicas of a run of these steps agreed, and the bytes that one of them sent."""
        del steps
        return {}

    @property
    def adds_within_step(self) -> bool:
        """Whether it runs a program that `shares_statistics`, and replicas may have any run of blocks.

        It does where this program adds what replicas compute, and not TensorFlow.
        """
        return False

    def steps_per_loop(self, report_every: int) -> int | None:
        """Steps in one loop where the config leaves it open; None: as many as the input allows.

        Args:
          report_every: the most steps there are between two calls of `collect`.
        """
        return None

    def waiting_for(self) -> str:
        """The peers that the call in progress waits for, as in "worker 1", or "". For any thread."""
        return ""

    def set_peer_timeout(self, seconds: float) -> None:
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
          state: where training starts, as `share` returned it.
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

    def move_blocks(self, train: ReplicaInput, test: ReplicaInput) -> None:
        """Replaces the input by one in which other blocks of the same batches are each worker's.

        Call it between `collect` and `run`, on all tasks with the same runs.
        """
        raise AssertionError(f"{self.name} moves no blocks")

    def computed(self) -> np.ndarray:
        """float64 [num_workers, 3]: the seconds of each worker's steps, those it computed, the steps.

        Since the last call, without steps in which something was compiled. All tasks call it together,
        and get the same numbers.
        """
        return np.zeros((self.num_workers, 3))

    def serve(self, wait: Callable[[], int]) -> int:
        """Serves the other tasks until `wait` returns, and returns its value, the exit code.

        Raises AssertionError where the runtime is not `serves_only`.
        """
        raise AssertionError(f"{self.name} has no task that only serves")
