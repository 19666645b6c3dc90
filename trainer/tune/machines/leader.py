"""How does one machine serve a sweep and run some of its trials too?

`lead` serves the clients in a thread, and runs this machine's trials in the calling thread. Both use the
same search. If either ends, by an error or a stop, the other ends too.
"""

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from trainer.tune.machines.server import SweepServer

_POLL_INTERVAL_S = 0.2
_LISTEN_TIMEOUT_S = 10.0  # The system may take a while to resolve the server's name.


def lead(
    server: SweepServer,
    run: Callable[[Callable[[], None]], None],
    on_poll: Callable[[], None],
    stop_requested: Callable[[], bool],
) -> None:
    """Serves clients while `run` runs trials, and until the clients have disconnected.

    Args:
      server: not serving yet. Here it does not end if there are no clients.
      run: runs trials until the sweep has finished or a stop is requested. Its argument is a function
        to call several times per second.
      on_poll: called by that function.
      stop_requested: whether a stop is requested, as `run` checks too.

    Raises:
      Exception: any error of the server or of `run`.
    """
    run_ended, is_listening = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1, "sweep-server") as pool:
        serving = pool.submit(
            server.serve, math.inf, lambda: run_ended.is_set() or stop_requested(), is_listening.set
        )
        serving.add_done_callback(lambda _: is_listening.set())
        is_listening.wait(_LISTEN_TIMEOUT_S)

        def poll() -> None:
            if serving.done():
                serving.result()
            on_poll()

        try:
            poll()  # Raises before the first trial if the server cannot listen at its address.
            run(poll)
        except BaseException:
            run_ended.set()
            raise
        while not wait([serving], _POLL_INTERVAL_S).done:
            on_poll()
        serving.result()
