"""Which part of the state does a task hold?

All of it, unless the tasks of a run hold parts of one model, or of its optimizer's slots: `HeldState` is
the part of a runtime's interface that tells them apart. Outside of a runtime a state is the whole one.
"""

import abc
from typing import Any

from strategies.cluster.mesh_shape import ModelPart
from strategies.state import State

Axes = tuple[list, list[list], list]  # `Program.cut_axes`.


class HeldState(abc.ABC):
    """A runtime whose tasks all hold the whole state; others override its methods."""

    model_part = ModelPart()
    """The part of the model that this task holds."""
    holds_part = False
    """Whether it holds a part of the state; the leader then reads and saves the whole array by array."""

    @property
    def shares_state(self) -> bool:
        """Whether to save `state` is an exchange with other tasks, which must all do it together."""
        return False

    def broadcast(self, values: Any) -> Any:
        """The leader's values on every task.

        Args:
          values: a nest of arrays, whose shapes and dtypes are the same on every task.
        """
        return values

    def all_agree(self, answer: bool) -> bool:
        """Whether all tasks answer yes. Where they hold the same state, they answer alike."""
        return answer

    def share(self, axes: Axes, state: State) -> State:
        """The leader's state, on every task as much of it as that holds. All tasks call it together."""
        del axes
        return State(*self.broadcast(state.arrays))

    @abc.abstractmethod
    def state(self) -> State:
        """The state after the last step. Call `collect` first."""

    @abc.abstractmethod
    def restore(self, state: State) -> None:
        """Replaces the state by one of the same shapes. Call it between `collect` and `run`."""

    def view(self) -> State:
        """As `state`, for as long as no step is taken: its arrays need not be copies."""
        return self.state()

    def joined(self, axes: Axes, state: State) -> State:
        """On the leader, the state of the whole model, of what `view` returned on each task.

        All tasks call it together. Where arrays of the result are `Lazy`, the others are sending them:
        the leader reads each once, in the order of `flat_arrays`. `axes` may lack the slots, as the state
        does, where the weights are enough.
        """
        del axes
        return state
