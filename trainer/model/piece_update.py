"""How are pieces of weights updated, without the rest of the weights?

`of` makes the update of some pieces from the optimizers of whole weights. It gives the bits of a whole
update where nothing connects the numbers of a weight (`elementwise.py`).
"""

from collections.abc import Callable, Sequence
from typing import Any

from strategies.weight_pieces import Piece


def of(
    program: Any, scale_of: Callable[[Any], Any], pieces: Sequence[Piece]
) -> Callable[[list, list, list, Any], tuple[list, list]]:
    """A function as `strategies.runtime.Program.piece_update` returns it.

    `scale_of`: what gradients that are summed over this number of examples are multiplied by.
    """
    shapes = [tuple(variable.shape) for variable in program.model.trainable_variables]
    own = program.optimizers.of_parts(
        [(one.weight, one.shape(shapes[one.weight])) for one in pieces]
    )

    def update(weights: list, slots: list, gradients: list, count: Any) -> tuple[list, list]:
        scale = scale_of(count)
        return own.update(weights, slots, [gradient * scale for gradient in gradients])

    return update
