"""How long does a real exchange take here? A second worker that computes nothing takes part in it.

It is a process of its own, `python -m trainer.estimate.second_worker`, which adds zeros over the
connection of a real `SocketAllReduce`. So what is measured is the exchange alone, or a worker's own loop
beside an infinitely fast peer.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

from strategies.cluster.spec import Task
from strategies.collectives.all_reduce import SocketAllReduce, aligned
from strategies.collectives.leaf_runs import LeafRuns
from strategies.collectives.peer_connections import PeerLost

TASKS = (Task("worker", 0), Task("worker", 1))
_START_TIMEOUT_S = 120.0  # It imports NumPy, which takes long on a busy machine.


class SecondWorker:
    """Inside of it `exchange` is the first worker's, of two.

    `host`: where this process listens. `within`: a command that executes another, such as
    `ip netns exec NAME`, if the second worker is to run elsewhere.
    """

    exchange: SocketAllReduce

    def __init__(self, host: str = "127.0.0.1", within: Sequence[str] = ()):
        self._host, self._within = host, within

    def __enter__(self) -> "SecondWorker":
        with socket.create_server((self._host, 0)) as listener:
            port = str(listener.getsockname()[1])
            command = [*self._within, sys.executable, "-m", __name__, self._host, port]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
            listener.settimeout(_START_TIMEOUT_S)
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                self._process.kill()
                raise
        self.exchange = SocketAllReduce(TASKS, 0, {1: connection})
        return self

    def __exit__(self, *unused: object) -> None:
        self.exchange.close()
        self._process.wait()

    def join(self, size: int, runs: LeafRuns, sums: int) -> None:
        """Has it take part in the next `sums` sums of vectors of `size` numbers."""
        message = {"size": size, "counts": runs.counts, "sums": sums}
        self.exchange.send(1, json.dumps(message).encode())

    def seconds(self, size: int, repeats: int = 30) -> float:
        """The median time of a sum of two vectors."""
        runs, own, total = LeafRuns((1, 1)), aligned(size), aligned(size)
        own[:] = 1.0
        self.join(size, runs, repeats)
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            self.exchange.sum_runs([[own]], total, runs)
            times.append(time.perf_counter() - began)
        return float(np.median(times[1:]))


def leave_cores(taken: set[int]) -> None:
    """Has this process run on other cores than these, as a worker would; stays where there are none."""
    if others := set(range(os.cpu_count() or 1)) - taken:
        with contextlib.suppress(OSError):  # A container may not have them.
            os.sched_setaffinity(0, others)


def serve(host: str, port: int) -> None:
    """Takes part in sums until the first worker closes the connection."""
    connection = socket.create_connection((host, port), _START_TIMEOUT_S)
    exchange = SocketAllReduce(TASKS, 1, {0: connection})
    while True:
        try:
            message = json.loads(exchange.receive(0))
            size, runs = message["size"], LeafRuns(tuple(message["counts"]))
            sums = [[np.zeros(size, np.float32)] for _ in runs.roots[1]]
            total = np.empty(size, np.float32)
            for _ in range(message["sums"]):
                exchange.sum_runs(sums, total, runs)
        except PeerLost:
            return


if __name__ == "__main__":
    leave_cores(os.sched_getaffinity(os.getppid()))
    serve(sys.argv[1], int(sys.argv[2]))
