"""How does one machine hand out the trials of a sweep and run some of them too?

Its clients are served from a thread, and its own trials run from the calling one: both have them from the
same search. The end of either, by an error or a stop, is the end of both.
"""

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from trainer.tune.machines.server import SweepServer

_LOOK_EVERY_S = 0.2
_LISTEN_S = 10.0  # A name of its own is looked up by the system, which may take a while.


def lead(
    chief: SweepServer,
    run: Callable[[Callable[[], None]], None],
    on_look: Callable[[], None],
    stop_requested: Callable[[], bool],
) -> None:
    """Serves the chief's clients for as long as `run` runs trials, and until they have left.

    Args:
      chief: not yet serving. That no client comes is no reason for it to end.
      run: runs trials until the sweep is over or a stop is asked for. It is given what it is to call
        several times a second.
      on_look: called then.
      stop_requested: as `run` asks too.

    Raises:
      Exception: what the chief or `run` raised.
    """
    is_over, listens = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1, "chief") as pool:
        serving = pool.submit(
            chief.serve, math.inf, lambda: is_over.is_set() or stop_requested(), listens.set
        )
        serving.add_done_callback(lambda _: listens.set())
        listens.wait(_LISTEN_S)

        def look() -> None:
            if serving.done():
                serving.result()
            on_look()

        try:
            look()  # No trial begins where the chief's address cannot be had.
            run(look)
        except BaseException:
            is_over.set()
            raise
        while not wait([serving], _LOOK_EVERY_S).done:
            on_look()
        serving.result()
