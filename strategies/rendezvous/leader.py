"""How does the leader gather the other tasks?

`Leader` calls each of them, from one thread per task, until all have answered or the deadline passes.
Then it sends all of them the verdict.
"""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Mapping

from absl import logging

from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import ClusterError, Resumable
from strategies.network.connection import (
    AuthenticationError,
    JsonConnection,
    Message,
    ProtocolError,
)
from strategies.network.handshake import Handshake, Peer, reason
from strategies.network.sockets import connect
from strategies.rendezvous import verdict
from strategies.rendezvous.mismatch import difference
from strategies.rendezvous.twin import Twin

_CONNECT_TIMEOUT_S = 2.0
_RETRY_EVERY_S = 0.2
_LATE_TASKS_S = 3.0


class Leader:
    """Calls every other task until all have answered. See `roll_call.meet`.

    Args:
      cluster: with the leader as its task.
      handshake: with the leader's task and fingerprint as its introduction.
      run: the name that it gives the run.
      timeout_s: seconds until every task must have answered.
    """

    def __init__(self, cluster: ClusterSpec, handshake: Handshake, run: str, timeout_s: float):
        self._cluster = cluster
        self._handshake = handshake
        self._go = verdict.go(run)
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._peers = [task for task in cluster.tasks() if task != cluster.task]
        self._reasons = dict.fromkeys(self._peers, "no answer")
        self._answered: dict[Task, Peer] = {}
        self._warned: set[Task] = set()
        self._untrusted: set[Task] = set()  # In their last call.
        self._changed = threading.Condition()
        self._is_over = threading.Event()

    def gather(self) -> dict[Task, JsonConnection]:
        """A connection to every other task, each of which was told to start.

        Raises:
          ClusterError, Resumable: as `meet`. Every task that answered gets the same error, and its
            connection is closed.
        """
        try:
            # A port that is in use is an error now, not in TensorFlow.
            with Twin(self._cluster, self._handshake) as twin:
                self._call_all(twin)
            self._send_all(self._go)
            return {task: peer.link for task, peer in self._answered.items()}
        except (ClusterError, Resumable) as error:
            self._send_all(verdict.failure(error))
            self._close_all()
            raise
        except BaseException:
            self._close_all()
            raise
        finally:
            self._is_over.set()

    def call_again(self, task: Task) -> JsonConnection | None:
        """One call to a lost task: a connection where it is back and was told to start, else None.

        A task with another fingerprint than the leader's is sent the error, with which it ends.
        """
        try:
            peer = self._call_once(task, verdict.ANSWER_TIMEOUT_S)
        except (OSError, EOFError, ProtocolError, UnicodeError):
            return None
        error = self._difference({task: peer})
        with contextlib.suppress(OSError):
            peer.link.send(verdict.failure(error) if error else self._go)
            if not error:
                return peer.link
        peer.link.close()
        return None

    def _call_all(self, twin: Twin) -> None:
        for task in self._peers:
            self._start_calling(task)
        error = None
        with self._changed:
            while len(self._answered) < len(self._peers) and time.monotonic() < self._deadline:
                self._changed.wait(_RETRY_EVERY_S)
                self._call_disconnected_again()
                if error := error or self._difference(self._answered) or twin.error():
                    # Tasks that are late have this long to receive the error too.
                    self._deadline = min(self._deadline, time.monotonic() + _LATE_TASKS_S)
            self._is_over.set()
        if error := self._difference(self._answered) or error or twin.error():
            raise error
        if len(self._answered) < len(self._peers):
            raise self._missing()

    def _start_calling(self, task: Task) -> None:
        threading.Thread(target=self._keep_calling, args=(task,), daemon=True).start()

    def _keep_calling(self, task: Task) -> None:
        while not self._is_over.is_set():
            try:
                return self._keep(task, self._call_once(task, self._left_s()))
            except (OSError, EOFError, ProtocolError, UnicodeError) as error:
                self._reasons[task] = reason(error)
                is_untrusted = isinstance(error, AuthenticationError)
                (self._untrusted.add if is_untrusted else self._untrusted.discard)(task)
            self._is_over.wait(_RETRY_EVERY_S)

    def _call_once(self, task: Task, remaining_s: float) -> Peer:
        introduction = {**self._handshake.introduction, "remaining_s": remaining_s}
        handshake = dataclasses.replace(self._handshake, introduction=introduction)
        connection = connect(self._cluster.address(task), _CONNECT_TIMEOUT_S)
        try:
            return handshake.call(connection, time.monotonic() + verdict.ANSWER_TIMEOUT_S)
        except AuthenticationError as error:
            if task not in self._warned:
                self._warned.add(task)
                logging.warning("%s at %s: %s", task, self._cluster.address(task), error)
            raise

    def _left_s(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _keep(self, task: Task, peer: Peer) -> None:
        with self._changed:
            if self._is_over.is_set():
                peer.link.close()
                return
            self._answered[task] = peer
            self._changed.notify()

    def _call_disconnected_again(self) -> None:
        # No message is sent between hello and verdict: what can be read is the end of a connection.
        for task in [task for task, peer in self._answered.items() if peer.link.is_readable()]:
            self._answered.pop(task).link.close()
            self._reasons[task] = "it answered, then disconnected"
            self._start_calling(task)

    def _difference(self, peers: Mapping[Task, Peer]) -> ClusterError | None:
        fingerprints = {self._cluster.task: self._handshake.introduction["fingerprint"]}
        fingerprints |= {task: peer.introduction["fingerprint"] for task, peer in peers.items()}
        if error := difference(fingerprints):
            return error
        for task, peer in peers.items():
            if peer.introduction["task"] != task.as_json():
                return self._wrong_task(task, Task(*peer.introduction["task"]))
        return None

    def _wrong_task(self, expected: Task, answered: Task) -> ClusterError:
        return ClusterError(
            f"`cluster.{expected.type}[{expected.index}]` must be the address of {expected}, but "
            f"{answered} answered. Received: {self._cluster.address(expected)!r}; correct the `task` "
            "there, or the order of the addresses."
        )

    def _missing(self) -> Resumable:
        missing = [task for task in self._peers if task not in self._answered]
        names = " and ".join(
            f"{task} at {self._cluster.address(task)} ({self._reasons[task]})" for task in missing
        )
        them = "it" if len(missing) == 1 else "them"
        fix = f"start {them}"
        if any(task in self._untrusted for task in missing):
            fix += f" with the same {self._handshake.security.flag}"
        return Resumable(
            f"{names} did not answer within {self._timeout_s:g} s; "
            f"{fix}, or {verdict.fix_for_missing_tasks(self._cluster)}, and run again.",
            task=missing[0],
        )

    def _send_all(self, message: Message) -> None:
        for peer in self._answered.values():
            with contextlib.suppress(OSError):  # It disconnected; the membership will report it.
                peer.link.send(message)

    def _close_all(self) -> None:
        for peer in self._answered.values():
            peer.link.close()
