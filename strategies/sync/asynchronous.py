"""When do workers agree that never wait for each other? With the parameter servers, at each update.

A worker pulls the weights, takes the steps of a *window* alone and pushes the result, which the servers
apply when it arrives (`parameter_server/`). A window of one step is asynchronous SGD. Meanwhile others
may have pushed: their number is the *staleness* of a push.

A bound on it is a bound on how many windows are unfinished at once. If there are at most n, then from the
pull of one to its push at most n - 1 earlier and n - 1 later ones are applied. Ho et al., "More Effective
Distributed ML via a Stale Synchronous Parallel Parameter Server" (2013), bound the workers' clocks in the
same way.
"""

import dataclasses
from typing import ClassVar

from strategies.sync.agreement import Agreement

UNBOUNDED = -1


@dataclasses.dataclass(frozen=True)
class Asynchronous(Agreement):
    """Each worker updates the parameter servers after each step. `max_staleness`: or UNBOUNDED."""

    mode: ClassVar[str] = "async"
    trains_apart: ClassVar[bool] = False

    max_staleness: int = UNBOUNDED
    window_steps: int = 1
    window_ms: float = 0.0

    @property
    def max_unfinished(self) -> int | None:
        """How many windows may be unfinished at once; None: any number."""
        return None if self.max_staleness == UNBOUNDED else self.max_staleness // 2 + 1


class AsyncWindow(Asynchronous):
    """Each worker updates the parameter servers after a window of several steps.

    `window_steps` 0: as many as take `window_ms`; if that is 0 too, the servers choose.
    """

    mode: ClassVar[str] = "async_window"
