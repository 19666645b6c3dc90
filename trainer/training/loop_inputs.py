"""Which loop comes next, with which input? `follow` gives them until the last, or until it is closed."""

import contextlib
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager

from trainer.data.input_pipeline import InputPipeline
from trainer.order.schedule import Loop, Schedule


def follow(
    schedule: Schedule,
    first_step: int,
    pipeline: Callable[[], InputPipeline],
    waiting: Callable[[Loop], AbstractContextManager],
) -> Generator[tuple[Loop, tuple], None, None]:
    """The loops from `first_step` on, each with the input of this process's replicas.

    `pipeline`: asked again after each loop, as blocks may have been moved. `waiting`: what is entered
    while a loop's input is waited for.
    """
    step = first_step
    while step < schedule.total_steps:  # Again after each move of blocks.
        current = pipeline()
        inputs = current.loop_inputs(schedule.loops(step))
        with contextlib.closing(inputs):
            for loop in schedule.loops(step):
                with waiting(loop):
                    loop_input = next(inputs)
                yield loop, loop_input
                step = loop.end_step
                if pipeline() is not current:
                    break
