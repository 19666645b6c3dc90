"""Is everyone still here, and when may a task leave?

A `Membership` keeps the connections of the roll call open until the run is over. The leader has one to
every other task, and every other task has one to the leader. The leader tells all tasks which one was
lost, so they all name the same task. All tasks leave together, with the leader's exit code. Where the
run continues without a lost task, the leader can call that task until it is back.
"""

import contextlib
import threading
from collections.abc import Callable, Container, Iterable, Mapping

from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import EXIT_DONE, Resumable
from strategies.network.connection import JsonConnection, Message, ProtocolError
from strategies.network.security import PLAIN, Security
from strategies.network.sockets import close_connections_to
from strategies.network.wire_text import printable_line
from strategies.rendezvous.heartbeat import Heartbeat

_EXIT_TIMEOUT_S = 5.0
_RECALL_EVERY_S = 1.0

OnLost = Callable[[Task, str], None]
OnBack = Callable[[Task], None]
Recall = Callable[[Task], JsonConnection | None]


class Membership:
    """The tasks that answered the roll call, watched from a daemon thread until `close`.

    A single task has no peers, nor has an evaluator: then every method returns at once.
    Use as a context manager, or call `close`. Closing before the end of the run is a loss to the others.
    """

    def __init__(
        self,
        cluster: ClusterSpec,
        connections: Mapping[Task, JsonConnection],
        run: str = "",
        recall: Recall = lambda task: None,
        security: Security = PLAIN,
    ):
        """`recall` calls a task once: the connection where it is back, else None. Tasks know `run`."""
        self.run, self.security = run, security
        self._cluster = cluster
        self._recall = recall
        self._changed = threading.Condition()
        self._lost: dict[Task, str] = {}  # In the order of the losses.
        self._reported: set[Task] = set()  # The losses that `on_lost` was called for.
        self._done: set[Task] = set()
        self._returning: set[Task] = set()  # Connected again, and lost until they serve.
        self._back: list[Task] = []  # `on_back` is still to be called for these.
        self._exit_code: int | None = None
        self._on_lost: OnLost | None = None
        self._on_back: OnBack | None = None
        self._heartbeat = Heartbeat(
            connections,
            self._changed,
            on_message=self._handle,
            on_disconnect=self._handle_disconnect,
            on_reconnect=self._handle_reconnect,
            after_poll=self._report,
        )
        self._heartbeat.start()

    def __enter__(self):
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    @property
    def exit_code(self) -> int | None:
        """The exit code that the leader ended the run with; None during the run."""
        return self._exit_code

    @property
    def connections(self) -> Mapping[Task, JsonConnection]:
        """The connections by their peers, also closed ones, for a process that watches this one."""
        return self._heartbeat.connections

    @property
    def hosts(self) -> Mapping[Task, str]:
        """The addresses of the peers, as their connections show them."""
        found = {}
        for task, connection in self._heartbeat.connections.items():
            with contextlib.suppress(OSError):
                found[task] = connection.host
        return found

    @property
    def lost(self) -> Mapping[Task, str]:
        """The tasks that are lost and not back, with the reasons, in the order of the losses."""
        with self._changed:
            return dict(self._lost)

    def watch(
        self, on_lost: OnLost, peer_timeout_s: float = 30.0, on_back: OnBack | None = None
    ) -> None:
        """Calls `on_lost(task, reason)` once for each loss of a task from now on.

        The watching thread calls it, and calls `on_back(task)` when a lost task serves again. A task
        that was lost after the roll call counts too. A task is lost when its connection closes, or
        after `peer_timeout_s` of silence. Before `watch` silence is no loss: importing TensorFlow may
        block a process for long.
        """
        with self._changed:
            self._heartbeat.peer_timeout_s = peer_timeout_s
            self._on_lost, self._on_back = on_lost, on_back
        self._heartbeat.wake()

    def reconnect(self, task: Task) -> None:
        """Calls a lost task until it is back or the run is over. For the leader; returns at once.

        Ends this process's connections to the task, so whatever waits for an answer on them fails.
        """
        threading.Thread(
            target=self._keep_calling, args=(task,), name=f"recall {task}", daemon=True
        ).start()

    def declare_lost(self, task: Task, reason: str) -> None:
        """Treats a task as lost although it beats. Ends its connection, which tells the task so."""
        self._heartbeat.disconnect(task, reason)

    def wait_for_loss(self, timeout_s: float) -> tuple[Task, str] | None:
        """The first lost task and the reason; None where no task is lost within `timeout_s`.

        For a caller that caught an error of TensorFlow's, and asks whether a lost peer is the cause.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._lost, timeout_s if self._peers else 0)
            return next(iter(self._lost.items()), None)

    def wait_for_all(self, timeout_s: float, exit_code: int = EXIT_DONE) -> int:
        """Returns the leader's exit code once every task that trains has called this.

        The leader waits for the others, then ends the run for all with its `exit_code`; the others
        wait for that. So no task leaves while another needs it. With parameter servers only the leader
        calls this.

        Raises:
          Resumable: a task was lost, or did not call this within `timeout_s`.
        """
        if not self._cluster.is_leader:
            self._heartbeat.send({"done": True})
            self._wait(self._is_over, lambda: self._peers, timeout_s)
            return self._exit_code or EXIT_DONE
        needed = set() if self._cluster.has_ps else self._peers
        self._wait(lambda: needed <= self._done, lambda: needed - self._done, timeout_s)
        return self.broadcast_exit(exit_code)

    def wait_for_exit(self, timeout_s: float | None = None) -> int:
        """Returns the exit code that the leader ends the run with. For a task that serves from now on.

        Raises:
          Resumable: the leader was lost, or `timeout_s` passed. None: no limit, and only the loss of
            the leader ends the wait. The loss of another task does not: the leader handles it.
        """
        self._heartbeat.send({"serving": True})
        self._wait(self._is_over, lambda: self._peers, timeout_s, fatal=self._peers)
        return self._exit_code or EXIT_DONE

    def broadcast_exit(self, exit_code: int = EXIT_DONE) -> int:
        """Ends the run for every task, with this exit code. For the leader; later calls do nothing.

        Returns the exit code of the first call, when every task has received it, or after 5 s.
        """
        with self._changed:
            if self._exit_code is not None:
                return self._exit_code
            self._exit_code = exit_code  # Before sending: a task that leaves now is not lost.
        self._heartbeat.send({"exit": exit_code})
        with self._changed:
            self._changed.wait_for(lambda: not self._heartbeat.open_connections, _EXIT_TIMEOUT_S)
        return exit_code

    def close(self) -> None:
        """Ends the connections. Safe to call again, and from `on_lost`."""
        self._heartbeat.close()

    @property
    def _peers(self) -> set[Task]:
        return {*self._heartbeat.connections}

    def _is_over(self) -> bool:
        return self._exit_code is not None

    def _keep_calling(self, task: Task) -> None:
        def is_over() -> bool:
            return self._heartbeat.is_closing or self._is_over()

        # Before the first call, as it would end that one's connection too.
        close_connections_to(self._cluster.address(task))
        while not is_over():
            if connection := self._recall(task):
                return self._heartbeat.reconnect(task, connection)
            with self._changed:
                self._changed.wait_for(is_over, _RECALL_EVERY_S)

    def _wait(
        self,
        is_over: Callable[[], bool],
        waiting_for: Callable[[], Iterable[Task]],
        timeout_s: float | None,
        fatal: Container[Task] | None = None,
    ) -> None:
        """Waits until `is_over`. Raises Resumable for the loss of a `fatal` task (None: of any)."""
        if not self._peers:
            return

        def losses() -> list[tuple[Task, str]]:
            return [loss for loss in self._lost.items() if fatal is None or loss[0] in fatal]

        with self._changed:
            self._changed.wait_for(lambda: is_over() or losses(), timeout_s)
            if is_over():
                return
            for task, reason in losses():
                raise Resumable(
                    f"{task} was lost ({reason}); run the same command again to resume.", task=task
                )
            missing = sorted(waiting_for())
            names = " and ".join(map(str, missing))
            raise Resumable(
                f"{names} did not reach the end of the run within {timeout_s:g} s; "
                "run the same command again to resume.",
                task=missing[0] if missing else None,
            )

    def _handle(self, sender: Task, message: Message) -> None:
        with self._changed:
            if "done" in message:
                self._done.add(sender)
            elif "exit" in message:
                self._exit_code = _exit_code(message["exit"])
                # This tells the leader that the exit code was received.
                self._heartbeat.connections[sender].shut_down()
            elif "lost" in message and not self._is_over():
                *task, reason = message["lost"]
                self._lost.setdefault(_task(task), printable_line(reason))
            elif "serving" in message and sender in self._returning:
                self._returning.discard(sender)
                self._lost.pop(sender, None)
                self._back.append(sender)
                self._heartbeat.send({"back": [sender.type, sender.index]})
            elif "back" in message:
                back = _task(message["back"])
                self._lost.pop(back, None)
                self._back.append(back)
            self._changed.notify_all()

    def _handle_disconnect(self, task: Task, reason: str) -> None:
        with self._changed:
            is_over = self._heartbeat.is_closing or self._is_over() or task in self._done
            is_loss = not is_over and task not in self._lost
        if is_loss and self._cluster.is_leader:
            # First, before this process acts on the loss: it may then close its own connections, and
            # the other tasks would name it as the lost one.
            self._heartbeat.send({"lost": [task.type, task.index, reason]})
        with self._changed:
            if is_loss:
                self._lost[task] = reason
            self._changed.notify_all()
        if task in self._returning:
            self._returning.discard(task)
            self.reconnect(task)

    def _handle_reconnect(self, task: Task) -> None:
        self._returning.add(task)
        if self._is_over():
            self._heartbeat.send({"exit": self._exit_code})

    def _report(self) -> None:
        with self._changed:
            back, self._back = self._back, []
            self._reported.difference_update(back)
            new = [item for item in self._lost.items() if item[0] not in self._reported]
            on_lost, on_back = self._on_lost, self._on_back
        if on_back:
            for task in back:
                on_back(task)
        if on_lost:
            for task, reason in new:
                self._reported.add(task)
                on_lost(task, reason)


def _task(received: object) -> Task:
    task = Task.from_json(received)
    if task is None:
        raise ProtocolError
    return task


def _exit_code(received: object) -> int:
    if type(received) is not int or not 0 <= received <= 255:
        raise ProtocolError
    return received
