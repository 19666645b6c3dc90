"""When do replicas average their parameters that decide it by how far they have moved apart?

After an interval that is halved where their spread was above a threshold, and doubled where it was below
half of that after a whole interval. The spread is a sum over the logical replicas in their tree, so all
workers see the same number and decide alike. Kamp et al., "Efficient Decentralized Deep Learning by
Dynamic Model Averaging" (2018), synchronise when a divergence passes a threshold; here no replica
measures it between agreements, as that would be a message of its own.

An interval is the shortest one times a power of two, and a round starts at a multiple of its length. So
there always is an agreement after a multiple of the longest interval, whatever was decided.
"""

import dataclasses
from typing import ClassVar

import numpy as np
from absl import logging

from strategies.sync.agreement import Agreement, Memory


@dataclasses.dataclass(frozen=True)
class Dynamic(Agreement):
    """Replicas average their parameters after intervals from `min_steps` to `max_steps`.

    `every_steps`: the first interval. It and `max_steps` are `min_steps` times a power of two.
    """

    mode: ClassVar[str] = "dynamic"

    every_steps: int = 1
    min_steps: int = 1
    max_steps: int = 1
    max_spread: float = 1.0

    @property
    def period(self) -> int:
        return self.max_steps

    def initial_memory(self) -> Memory:
        return {"interval": np.array(self.every_steps, np.int64)}

    def next_agreement(self, step: int, start: int, memory: Memory) -> int:
        interval = int(memory["interval"])
        while (step - start) % interval:
            interval //= 2
        return step + interval

    def after(self, memory: Memory, spread: float, step: int, length: int) -> Memory:
        old = int(memory["interval"])
        if spread > self.max_spread:
            new, why = max(old // 2, self.min_steps), "above"
        elif spread < self.max_spread / 2 and length >= old:
            new, why = min(old * 2, self.max_steps), "below half of"
        else:
            new, why = old, ""
        if new != old:
            logging.info(
                "sync | step %d: the spread of %.4g is %s %g: an agreement every %d steps, not %d",
                step,
                spread,
                why,
                self.max_spread,
                new,
                old,
            )
        return memory | {"interval": np.array(new, np.int64)}

    def measures(self, memory: Memory) -> dict[str, float]:
        return {"sync_interval": float(memory["interval"])}
