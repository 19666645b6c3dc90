"""Is everyone still here?

A `Membership` keeps the connections of the roll call open until the run is over. The leader holds one
to every other task, every other task one to the leader. Each side sends a beat every second, so a
process that died shows as a closed connection at once, and one that is stopped, or cut off, as
silence. The leader tells everyone whom it lost, so all of them name the same task. Where the run goes
on without a task, the leader can call it until it is back.
"""

import contextlib
import math
import selectors
import socket
import threading
import time
from collections.abc import Callable, Container, Iterable, Mapping

from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import EXIT_DONE, Resumable
from strategies.network.connection import JsonConnection, Message, ProtocolError
from strategies.network.sockets import cut

_BEAT_EVERY_S = 1.0
_FAREWELL_S = 5.0
_RECALL_EVERY_S = 1.0

OnLost = Callable[[Task, str], None]
OnBack = Callable[[Task], None]
Recall = Callable[[Task], JsonConnection | None]


class Membership:
    """The tasks that answered the roll call, watched from a daemon thread until `close`.

    A task alone, and an evaluator, has no peers: then every method returns at once.
    Use as a context manager, or call `close`. Closing before a dismissal is a loss to the others.
    """

    def __init__(
        self,
        cluster: ClusterSpec,
        links: Mapping[Task, JsonConnection],
        token: str = "",
        recall: Recall = lambda task: None,
    ):
        """`recall` calls a task once: the connection on which it was told to go, or None."""
        self._cluster = cluster
        self._recall = recall
        self.token = token  # Known to the tasks of this run alone: they show it to each other.
        self._links = dict(links)
        self._heard = dict.fromkeys(links, time.monotonic())
        self._changed = threading.Condition()
        self._lost: dict[Task, str] = {}  # In the order of the losses.
        self._told: set[Task] = set()
        self._done: set[Task] = set()
        self._gone: set[Task] = set()  # Their connections are closed or given up.
        self._called: list[
            tuple[Task, JsonConnection]
        ] = []  # Lost, now told to go, and not yet watched.
        self._returning: set[Task] = set()  # Watched again, and lost until they serve.
        self._back: list[Task] = []  # Of whom `on_back` is to be told.
        self._dismissal: int | None = None
        self._closing = False
        self._on_lost: OnLost | None = None
        self._on_back: OnBack | None = None
        self._peer_timeout_s = math.inf
        self._thread = threading.Thread(target=self._run, name="membership", daemon=True)
        if links:
            self._waker, self._woken = socket.socketpair()
            self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    @property
    def dismissal(self) -> int | None:
        """The exit code the leader ended the run with, or None while it goes on."""
        return self._dismissal

    @property
    def connections(self) -> Mapping[Task, JsonConnection]:
        """The connections to the peers, for the process that watches them in this one's place."""
        return {task: link for task, link in self._links.items() if task not in self._gone}

    @property
    def hosts(self) -> Mapping[Task, str]:
        """The addresses from which, or at which, the peers are connected."""
        found = {}
        for task, link in self._links.items():
            with contextlib.suppress(OSError):
                found[task] = link.host
        return found

    @property
    def lost(self) -> Mapping[Task, str]:
        """The tasks lost and not back, and how each was lost, the first loss first."""
        with self._changed:
            return dict(self._lost)

    def watch(
        self, on_lost: OnLost, peer_timeout_s: float = 30.0, on_back: OnBack | None = None
    ) -> None:
        """From now on `on_lost(task, reason)` is called, once for each loss of a task.

        The call comes from the watching thread, as does `on_back(task)` when a lost task serves again;
        a task that was lost since the roll call counts too. Before `watch`, silence is no loss:
        importing TensorFlow may hold a process for long.
        """
        with self._changed:
            self._peer_timeout_s = peer_timeout_s
            self._on_lost, self._on_back = on_lost, on_back
        self._wake()

    def reconnect(self, task: Task) -> None:
        """Has a lost task called until it is back or the run over. For the leader; returns at once.

        What this process still awaits from it ends, with an error in whoever awaits it.
        """
        threading.Thread(
            target=self._keep_calling, args=(task,), name=f"recall {task}", daemon=True
        ).start()

    def give_up(self, task: Task, reason: str) -> None:
        """Takes a task for lost although it beats, and tells it so by ending the connection."""
        self._leave(task, reason)
        self._links[task].shut_down()
        self._wake()

    def await_loss(self, timeout_s: float) -> tuple[Task, str] | None:
        """The first task lost and how, waiting up to `timeout_s` for it; None if all are here.

        For whoever caught an error of TensorFlow's and wants to know whether a peer is behind it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._lost, timeout_s if self._links else 0)
            return next(iter(self._lost.items()), None)

    def wait_for_all(self, timeout_s: float, exit_code: int = EXIT_DONE) -> int:
        """Returns the exit code of the dismissal once every task that trains has come here.

        The leader waits for the others and dismisses everyone; the others wait for that. So nobody
        leaves while somebody still needs it. With parameter servers only the leader comes here.
        `exit_code` is what the leader dismisses everyone with.

        Raises:
          Resumable: a task was lost, or did not come within `timeout_s`.
        """
        if not self._cluster.is_leader:
            self._send_all({"done": True})
            self._wait(self._is_dismissed, lambda: self._links, timeout_s)
            return self._dismissal or EXIT_DONE
        needed = set() if self._cluster.has_ps else {*self._links}
        self._wait(lambda: needed <= self._done, lambda: needed - self._done, timeout_s)
        return self.broadcast_exit(exit_code)

    def wait_for_exit(self, timeout_s: float | None = None) -> int:
        """Returns the exit code that the leader dismissed everyone with. For a task that serves now.

        Raises:
          Resumable: the leader was lost, or `timeout_s` passed. Without `timeout_s` the wait ends
            with the leader, which `watch` bounds. The loss of another task is for the leader to bear.
        """
        self._send_all({"serving": True})
        self._wait(self._is_dismissed, lambda: self._links, timeout_s, fatal={*self._links})
        return self._dismissal or EXIT_DONE

    def broadcast_exit(self, exit_code: int = EXIT_DONE) -> int:
        """Ends the run for every task, with this exit code. For the leader; later calls do nothing.

        Returns after everyone heard it, or after 5 s.
        """
        with self._changed:
            if self._is_dismissed():
                return self._dismissal
            self._dismissal = exit_code  # First, so that nobody who leaves now counts as lost.
        self._send_all({"dismissed": exit_code})
        with self._changed:
            self._changed.wait_for(lambda: self._gone >= {*self._links}, _FAREWELL_S)
        return exit_code

    def close(self) -> None:
        """Ends the connections. Safe to call again, and from `on_lost`."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
        for link in self._links.values():
            link.shut_down()
        self._wake()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_FAREWELL_S)
        called = [link for _, link in self._called]
        for end in (
            (*self._links.values(), *called, self._waker, self._woken) if self._links else ()
        ):
            end.close()

    def _keep_calling(self, task: Task) -> None:
        def is_over() -> bool:
            return self._closing or self._is_dismissed()

        cut(self._cluster.address(task))  # And before the first call, which it would cut too.
        while not is_over():
            if link := self._recall(task):
                return self._watch_again(task, link)
            with self._changed:
                self._changed.wait_for(is_over, _RECALL_EVERY_S)

    def _watch_again(self, task: Task, link: JsonConnection) -> None:
        with self._changed:
            if self._closing:
                link.close()
                return
            self._called.append((task, link))
        self._wake()

    def _wake(self) -> None:
        if self._links:
            with contextlib.suppress(OSError):  # Closed meanwhile, with nobody left to wake.
                self._waker.send(b".")

    def _is_dismissed(self) -> bool:
        return self._dismissal is not None

    def _wait(
        self,
        is_over: Callable[[], bool],
        waiting_for: Callable[[], Iterable[Task]],
        timeout_s: float | None,
        fatal: Container[Task] | None = None,
    ) -> None:
        """Waits until `is_over`, or raises for the loss of a `fatal` task (None: of any)."""
        if not self._links:
            return

        def losses() -> list[tuple[Task, str]]:
            return [loss for loss in self._lost.items() if fatal is None or loss[0] in fatal]

        with self._changed:
            self._changed.wait_for(lambda: is_over() or losses(), timeout_s)
            if is_over():
                return
            for task, reason in losses():
                raise Resumable(
                    f"{task} was lost ({reason}); run the same command again to go on.", task=task
                )
            missing = sorted(waiting_for())
            names = " and ".join(map(str, missing))
            raise Resumable(
                f"{names} did not come to the end of the run within {timeout_s:g} s; "
                "run the same command again to go on.",
                task=missing[0] if missing else None,
            )

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for task, link in self._links.items():
                selector.register(link, selectors.EVENT_READ, task)
                self._take(task)  # What came on the heels of the roll call's last line.
            selector.register(self._woken, selectors.EVENT_READ)
            next_beat = time.monotonic()
            while not self._closing:
                before = time.monotonic()
                self._listen(selector, next_beat - before)
                self._admit(selector)
                if time.monotonic() >= next_beat:
                    self._send_all({"beat": True})
                    next_beat = time.monotonic() + _BEAT_EVERY_S
                # A process that was itself stopped finds the beats of the others waiting. So only
                # what was overdue before reading is silence; its own sleep is not.
                self._notice_silence(before)
                self._tell()

    def _listen(self, selector: selectors.BaseSelector, timeout_s: float) -> None:
        for key, _ in selector.select(max(0.0, timeout_s)):
            if key.fileobj is self._woken:
                self._woken.recv(64)
                continue
            try:
                key.fileobj.fill()
                self._take(key.data)
            except (EOFError, ProtocolError, TypeError, ValueError):
                selector.unregister(key.fileobj)
                self._leave(key.data, "its connection closed")

    def _admit(self, selector: selectors.BaseSelector) -> None:
        while self._called:
            with self._changed:
                task, link = self._called.pop()
                before, self._links[task] = self._links[task], link
                self._gone.discard(task)
                self._returning.add(task)
            with contextlib.suppress(KeyError):  # It may have said goodbye to the selector.
                selector.unregister(before)
            before.close()
            selector.register(link, selectors.EVENT_READ, task)
            self._take(task)
            if self._is_dismissed():
                self._send_all({"dismissed": self._dismissal})

    def _take(self, task: Task) -> None:
        inbox = self._links[task].inbox
        self._heard[task] = time.monotonic()
        while inbox:
            self._handle(task, inbox.popleft())

    def _handle(self, sender: Task, message: Message) -> None:
        with self._changed:
            if "done" in message:
                self._done.add(sender)
            elif "dismissed" in message:
                self._dismissal = int(message["dismissed"])
                self._links[sender].shut_down()  # Tells the leader that this was heard.
            elif "lost" in message and not self._is_dismissed():
                task_type, index, reason = message["lost"]
                self._lost.setdefault(Task(task_type, index), reason)
            elif "serving" in message and sender in self._returning:
                self._returning.discard(sender)
                self._lost.pop(sender, None)
                self._back.append(sender)
                self._send_all({"back": [sender.type, sender.index]})
            elif "back" in message:
                self._lost.pop(Task(*message["back"]), None)
                self._back.append(Task(*message["back"]))
            self._changed.notify_all()

    def _leave(self, task: Task, reason: str) -> None:
        with self._changed:
            is_over = self._closing or self._is_dismissed() or task in self._done
            is_loss = not is_over and task not in self._gone | {*self._lost}
            self._gone.add(task)
        if is_loss and self._cluster.is_leader:
            # Before anyone here learns of it: whoever does may close, and be taken for the lost one.
            self._send_all({"lost": [task.type, task.index, reason]})
        with self._changed:
            if is_loss:
                self._lost[task] = reason
            self._changed.notify_all()
        if task in self._returning:
            self._returning.discard(task)
            self.reconnect(task)

    def _notice_silence(self, now: float) -> None:
        for task, heard in self._heard.items():
            if task not in self._gone and now - heard > self._peer_timeout_s:
                # Should it wake, it learns that it was given up.
                self.give_up(task, f"not heard from for {self._peer_timeout_s:g} s")

    def _tell(self) -> None:
        with self._changed:
            back, self._back = self._back, []
            self._told.difference_update(back)
            news = [item for item in self._lost.items() if item[0] not in self._told]
            on_lost, on_back = self._on_lost, self._on_back
        for task in back if on_back else ():
            on_back(task)
        for task, reason in news if on_lost else ():
            self._told.add(task)
            on_lost(task, reason)

    def _send_all(self, message: Message) -> None:
        for task, link in self._links.items():
            if task in self._gone:
                continue
            try:
                link.send(message)
            except OSError:
                pass  # Reading from it, or its silence, tells how it was lost.
