"""Is everyone here, with the same config and versions?

TensorFlow waits for a missing peer without end and deaf to signals, so this comes before its servers
start. Every task but the leader listens on its own TF_CONFIG address; the leader calls each until all
have answered or the deadline passes, compares what they carry, and tells everyone the verdict.

The listeners are closed again by then, but the connections stay: they become the `Membership`.
TensorFlow's server can bind a port that has a connection and no listener, as both sides set
SO_REUSEADDR.
"""

import contextlib
import itertools
import json
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from strategies.addresses import connect, listen
from strategies.cluster import ClusterSpec, Task
from strategies.errors import ClusterError, Resumable
from strategies.link import Link, Message, Stranger
from strategies.membership import Membership

Credentials = Mapping[str, Any]

TOKEN_BYTES = 16  # Of a run's token, by which its tasks know each other from then on.
_CONNECT_TIMEOUT_S = 2.0
_ANSWER_TIMEOUT_S = 5.0
_RETRY_EVERY_S = 0.2
_GRACE_S = 3.0
_LONGEST_S = 86_400.0
_MAX_CALLERS = 64


def meet(cluster: ClusterSpec, credentials: Credentials, timeout_s: float) -> Membership:
    """The membership of a cluster whose tasks are all present and all carry equal credentials.

    Args:
      cluster: who calls whom. An evaluator, and a task alone, meets nobody.
      credentials: names to JSON values or, nested, to such mappings: versions, the config.
      timeout_s: seconds until everyone must be here.

    Raises:
      ClusterError: a port is taken, another task answers at an address, or credentials differ.
        All tasks that are here raise the same error.
      Resumable: a task is missing after `timeout_s`. Again the same error for all.
    """
    if cluster.is_alone or cluster.is_evaluator:
        return Membership(cluster, {})
    hello = {
        "muster": "hello",
        "task": [cluster.task.type, cluster.task.index],
        "credentials": _plain({"cluster": cluster.as_dict(), **credentials}),
    }
    if cluster.is_leader:
        token = secrets.token_hex(TOKEN_BYTES)
        caller = _Caller(cluster, hello, token, timeout_s)
        return Membership(cluster, caller.gather(), token, caller.call_again)
    link, token = _await_call(cluster, hello, timeout_s)
    return Membership(cluster, {cluster.leader: link}, token)


def probe(cluster: ClusterSpec, timeout_s: float = 2.0) -> dict[Task, str]:
    """What a connection to each other task's address meets, within `timeout_s` for all together.

    One of "answers", "refused", "name does not resolve", "no answer within 2 s", or the system's
    words. The leader listens only once TensorFlow's server runs, so before that it refuses.
    """
    if not cluster.jobs:
        return {}
    silence = f"no answer within {timeout_s:g} s"
    found = {task: silence for task in cluster.tasks() if task != cluster.task}
    threads = [
        threading.Thread(target=_knock, args=(cluster, task, timeout_s, found), daemon=True)
        for task in found
    ]
    deadline = time.monotonic() + timeout_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {task: silence if word == "no answer" else word for task, word in found.items()}


def check_own_address(cluster: ClusterSpec) -> None:
    """Returns where this task could listen for the roll call. Raises ClusterError as `meet` would."""
    if not (cluster.is_alone or cluster.is_evaluator):
        listen(cluster).close()


def _knock(cluster: ClusterSpec, task: Task, timeout_s: float, found: dict[Task, str]) -> None:
    try:
        connect(cluster.address(task), timeout_s).close()
        found[task] = "answers"
    except (OSError, UnicodeError) as error:
        found[task] = _reason(error)


def _plain(value: Any) -> Any:
    """The value as it is after a journey through JSON, so that equal values compare equal."""
    return json.loads(json.dumps(value))


# The leader's side.


class _Caller:
    """Calls every other task, each from a thread of its own, until all have answered."""

    def __init__(self, cluster: ClusterSpec, hello: Message, token: str, timeout_s: float):
        self._cluster = cluster
        self._hello = hello
        self._go = {"verdict": "go", "token": token}
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._peers = [task for task in cluster.tasks() if task != cluster.task]
        self._reasons = dict.fromkeys(self._peers, "no answer")
        self._links: dict[Task, Link] = {}
        self._answers: dict[Task, Message] = {}
        self._changed = threading.Condition()
        self._is_over = threading.Event()

    def gather(self) -> dict[Task, Link]:
        """A connection to every other task, which now holds the token.

        On any error all of them are told it, and closed.
        """
        listen(self._cluster).close()  # A port that is taken is an error now, not in TensorFlow.
        try:
            self._call_all()
            self._tell(self._go)
            return self._links
        except (ClusterError, Resumable) as error:
            self._tell(_verdict(error))
            self._hang_up()
            raise
        except BaseException:
            self._hang_up()
            raise
        finally:
            self._is_over.set()

    def call_again(self, task: Task) -> Link | None:
        """One call to a task that was lost: a connection if it is here, and was told to go.

        Where it carries something else than the leader, it is told so, and ends.
        """
        try:
            link, answer = self._call_once(task, _ANSWER_TIMEOUT_S)
        except (OSError, EOFError, Stranger, UnicodeError):
            return None
        error = self._difference({task: answer})
        with contextlib.suppress(OSError):
            link.send(_verdict(error) if error else self._go)
            if not error:
                return link
        link.close()
        return None

    def _call_all(self) -> None:
        for task in self._peers:
            self._call(task)
        error = None
        with self._changed:
            while len(self._links) < len(self._peers) and time.monotonic() < self._deadline:
                self._changed.wait(_RETRY_EVERY_S)
                self._call_again_who_left()
                if error := error or self._difference(
                    self._answers
                ):  # Give late-comers time to hear of it too.
                    self._deadline = min(self._deadline, time.monotonic() + _GRACE_S)
            self._is_over.set()
        if error := self._difference(self._answers) or error:
            raise error
        if len(self._links) < len(self._peers):
            raise self._missing()

    def _call(self, task: Task) -> None:
        threading.Thread(target=self._keep_calling, args=(task,), daemon=True).start()

    def _keep_calling(self, task: Task) -> None:
        while not self._is_over.is_set():
            try:
                return self._keep(task, *self._call_once(task, self._left_s()))
            except (OSError, EOFError, Stranger, UnicodeError) as error:
                self._reasons[task] = _reason(error)
            self._is_over.wait(_RETRY_EVERY_S)

    def _call_once(self, task: Task, remaining_s: float) -> tuple[Link, Message]:
        link = Link(connect(self._cluster.address(task), _CONNECT_TIMEOUT_S))
        try:
            link.send({**self._hello, "remaining_s": remaining_s})
            answer = link.receive(time.monotonic() + _ANSWER_TIMEOUT_S)
            if not _is_hello(answer):
                raise Stranger
        except BaseException:
            link.close()
            raise
        return link, answer

    def _left_s(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _keep(self, task: Task, link: Link, answer: Message) -> None:
        with self._changed:
            if self._is_over.is_set():
                link.close()
                return
            self._links[task], self._answers[task] = link, answer
            self._changed.notify()

    def _call_again_who_left(self) -> None:
        # Nobody speaks between hello and verdict, so what can be read is the end of a connection.
        for task in [task for task, link in self._links.items() if link.is_readable()]:
            self._links.pop(task).close()
            del self._answers[task]
            self._reasons[task] = "it answered, and left"
            self._call(task)

    def _difference(self, answers: Mapping[Task, Message]) -> ClusterError | None:
        everyone = {self._cluster.task: self._hello["credentials"]}
        everyone |= {task: answer["credentials"] for task, answer in answers.items()}
        if error := _difference(everyone):
            return error
        for task, answer in answers.items():
            if answer["task"] != [task.type, task.index]:
                return self._mistaken(task, Task(*answer["task"]))
        return None

    def _mistaken(self, expected: Task, answered: Task) -> ClusterError:
        return ClusterError(
            f"`cluster.{expected.type}[{expected.index}]` must be the address of {expected}, but "
            f"{answered} answered. Received: {self._cluster.address(expected)!r}; correct the `task` "
            "of the TF_CONFIG there, or the order of the addresses."
        )

    def _missing(self) -> Resumable:
        missing = [task for task in self._peers if task not in self._links]
        names = " and ".join(
            f"{task} at {self._cluster.address(task)} ({self._reasons[task]})" for task in missing
        )
        them = "it" if len(missing) == 1 else "them"
        return Resumable(
            f"{names} did not answer within {self._timeout_s:g} s; "
            f"start {them}, or correct TF_CONFIG, and run again."
        )

    def _tell(self, verdict: Message) -> None:
        for link in self._links.values():
            try:
                link.send(verdict)
            except OSError:
                pass  # It left; whoever watches the membership will hear so.

    def _hang_up(self) -> None:
        for link in self._links.values():
            link.close()


def _verdict(error: ClusterError | Resumable) -> Message:
    return {"verdict": "input" if isinstance(error, ClusterError) else "resume", "text": str(error)}


def _difference(everyone: Mapping[Task, Mapping[str, Any]]) -> ClusterError | None:
    """The error that names the first field in which tasks differ, or None."""
    carried = {task: dict(_flat(credentials)) for task, credentials in everyone.items()}
    fields = dict.fromkeys(itertools.chain.from_iterable(carried.values()))
    differing = [
        field
        for field in fields
        if len({json.dumps(values.get(field)) for values in carried.values()}) > 1
    ]
    if not differing:
        return None
    also = f" (and `{'`, `'.join(differing[1:4])}` differ too)" if differing[1:] else ""
    return ClusterError(
        f"`{differing[0]}` must be the same on every task. Received: "
        f"{_values(differing[0], carried)}{also}; {_way_out(differing[0])}."
    )


def _flat(credentials: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in credentials.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _values(field: str, carried: Mapping[Task, Mapping[str, Any]]) -> str:
    """Each value with the tasks that carry it: "64 on chief 0, 128 on worker 0 and worker 1"."""
    holders: dict[str, list[str]] = {}
    for task, values in carried.items():
        value = json.dumps(values[field]) if field in values else "none"
        holders.setdefault(value, []).append(str(task))
    return ", ".join(f"{value} on {_listed(tasks)}" for value, tasks in holders.items())


def _listed(tasks: list[str]) -> str:
    shown = tasks if len(tasks) <= 3 else [*tasks[:2], f"{len(tasks) - 2} more"]
    *most, last = shown
    return f"{', '.join(most)} and {last}" if most else last


def _way_out(field: str) -> str:
    if field.startswith("cluster."):
        return "give every task the same `cluster` in TF_CONFIG"
    return "give every task the same flags and packages"


def _reason(error: Exception) -> str:
    """Why a call failed, in a word or two."""
    reasons = {
        socket.gaierror: "name does not resolve",
        UnicodeError: "name does not resolve",  # From a label too long for any name.
        ConnectionRefusedError: "refused",
        TimeoutError: "no answer",
        Stranger: "another program answers there",
        EOFError: "it hung up",
    }
    for kind, reason in reasons.items():
        if isinstance(error, kind):
            return reason
    return getattr(error, "strerror", None) or str(error)


# The other tasks' side.


def _await_call(cluster: ClusterSpec, hello: Message, timeout_s: float) -> tuple[Link, str]:
    """The connection the leader made and said "go" on, and the token it gave."""
    deadline = time.monotonic() + timeout_s
    with listen(cluster) as listener:
        while call := _next_call(listener, deadline):
            link, remaining_s = call
            try:
                link.send(hello)
                verdict = link.receive(time.monotonic() + remaining_s + _ANSWER_TIMEOUT_S)
            except (OSError, EOFError, Stranger):
                link.close()  # The leader left, and may be back: it is called for the same run.
                continue
            _obey(verdict, link)
            return link, str(verdict.get("token"))
    raise Resumable(
        f"{cluster.leader}, which leads, at {cluster.address(cluster.leader)} did not complete the "
        f"roll call within {timeout_s:g} s; start it, or correct TF_CONFIG, and run again."
    )


def _obey(verdict: Message, link: Link) -> None:
    if verdict.get("verdict") == "go":
        return
    link.close()
    kind = ClusterError if verdict.get("verdict") == "input" else Resumable
    raise kind(str(verdict.get("text")))


def _next_call(listener: socket.socket, deadline: float) -> tuple[Link, float] | None:
    """The first connection that says hello, and the seconds its caller has left; None at `deadline`.

    Strangers may connect too, and say nothing or anything: none of them holds up the leader.
    """
    callers: list[Link] = []
    listener.setblocking(False)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        try:
            while (left_s := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left_s):
                    if key.fileobj is listener:
                        _admit(listener, callers, selector)
                    elif (remaining_s := _hear(key.fileobj, callers, selector)) is not None:
                        return key.fileobj, remaining_s
            return None
        finally:
            for link in callers:
                link.close()


def _admit(listener: socket.socket, callers: list[Link], selector: selectors.BaseSelector) -> None:
    try:
        connection, _ = listener.accept()
        link = Link(connection)
    except OSError:
        return  # It hung up before it was let in.
    callers.append(link)
    selector.register(link, selectors.EVENT_READ)
    if len(callers) > _MAX_CALLERS:
        _turn_away(callers[0], callers, selector)


def _turn_away(link: Link, callers: list[Link], selector: selectors.BaseSelector) -> None:
    selector.unregister(link)
    callers.remove(link)
    link.close()


def _hear(link: Link, callers: list[Link], selector: selectors.BaseSelector) -> float | None:
    """Reads what a caller says; the seconds it has left once it said hello, which ends its stay."""
    if link not in callers:
        return None  # Turned away since the selector saw it.
    try:
        link.fill()
        if not link.inbox:
            return None
        message = link.inbox.popleft()
        if not _is_hello(message):
            raise Stranger
        remaining_s = min(float(message["remaining_s"]), _LONGEST_S)
        if not remaining_s >= 0:
            raise Stranger
    except (EOFError, Stranger, KeyError, TypeError, ValueError):
        _turn_away(link, callers, selector)
        return None
    callers.remove(link)
    return remaining_s


def _is_hello(message: Message) -> bool:
    task = message.get("task")
    return (
        message.get("muster") == "hello"
        and isinstance(message.get("credentials"), dict)
        and isinstance(task, list)
        and [type(part) for part in task] == [str, int]
    )
