"""Is everyone here, with the same config and versions?

TensorFlow waits for a missing peer without end and deaf to signals, so this comes before its servers
start. Every task but the leader listens on its own TF_CONFIG address; the leader calls each until all
have answered or the deadline passes, compares what they carry, and tells everyone the verdict. Leader
and task show each other that they know the cluster's secret, and bind to that what they say.

The listeners are closed again by then, but the connections stay: they become the `Membership`.
TensorFlow's server can bind a port that has a connection and no listener, as both sides set
SO_REUSEADDR.
"""

import contextlib
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

from absl import logging

from strategies.cluster import slurm
from strategies.cluster.spec import ClusterSpec, Task
from strategies.errors import ClusterError, Resumable
from strategies.network import shared_secret as secret_lib
from strategies.network.connection import JsonConnection, Message, ProtocolError
from strategies.network.handshake import (
    AuthenticatedConnection,
    AuthenticatingListener,
    AuthenticationError,
    call,
    reason,
)
from strategies.network.shared_secret import FLAG, proof
from strategies.network.sockets import connect, listen
from strategies.rendezvous.membership import Membership
from strategies.rendezvous.mismatch import difference, listed, plain

Fingerprint = Mapping[str, Any]

_RUN_BYTES = 16  # Of the name that the leader makes up for a run.
_CONNECT_TIMEOUT_S = 2.0
_ANSWER_TIMEOUT_S = 5.0
_RETRY_EVERY_S = 0.2
_GRACE_S = 3.0
_LONGEST_S = 86_400.0


def meet(
    cluster: ClusterSpec, fingerprint: Fingerprint, timeout_s: float, secret: bytes = b""
) -> Membership:
    """The membership of a cluster whose tasks are all present and all carry equal fingerprints.

    Args:
      cluster: who calls whom. An evaluator, and a task alone, meets nobody.
      fingerprint: names to JSON values or, nested, to such mappings: versions, the config.
      timeout_s: seconds until everyone must be here.
      secret: whoever does not know it takes no part. Empty: everyone does.

    Raises:
      ClusterError: a port is taken, another task answers at an address, fingerprints differ, or
        someone did not know the secret. All tasks that are here, and know it, raise the same error.
      Resumable: a task is missing after `timeout_s`. Again the same error for all.
    """
    if cluster.is_alone or cluster.is_evaluator:
        return Membership(cluster, {})
    hello = {
        "task": [cluster.task.type, cluster.task.index],
        "fingerprint": plain({"cluster": cluster.as_dict(), **fingerprint}),
    }
    if cluster.is_leader:
        run = secrets.token_hex(_RUN_BYTES)
        caller = Leader(cluster, secret, hello, run, timeout_s)
        return Membership(cluster, caller.gather(), _token(secret, run), caller.call_again)
    link, run = _await_call(cluster, secret, hello, timeout_s)
    return Membership(cluster, {cluster.leader: link}, _token(secret, run))


def _token(secret: bytes, run: str) -> str:
    """By which the tasks of a run know each other from then on. Its name is no secret, the key is."""
    return proof(secret, "token", run)


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
        found[task] = reason(error)


# The leader's side.


class Leader:
    """Calls every other task, each from a thread of its own, until all have answered."""

    def __init__(
        self, cluster: ClusterSpec, key: bytes, hello: Message, run: str, timeout_s: float
    ):
        self._cluster = cluster
        self._key = key
        self._hello = hello
        self._go = {"verdict": "go", "run": run}
        self._timeout_s = timeout_s
        self._deadline = time.monotonic() + timeout_s
        self._peers = [task for task in cluster.tasks() if task != cluster.task]
        self._reasons = dict.fromkeys(self._peers, "no answer")
        self._met: dict[Task, AuthenticatedConnection] = {}
        self._imposters: set[Task] = set()
        self._changed = threading.Condition()
        self._is_over = threading.Event()

    def gather(self) -> dict[Task, JsonConnection]:
        """A connection to every other task, which now holds the token.

        On any error all of them are told it, and closed.
        """
        listen(self._cluster).close()  # A port that is taken is an error now, not in TensorFlow.
        try:
            self._call_all()
            self._tell(self._go)
            return {task: met.link for task, met in self._met.items()}
        except (ClusterError, Resumable) as error:
            self._tell(_verdict(error))
            self._hang_up()
            raise
        except BaseException:
            self._hang_up()
            raise
        finally:
            self._is_over.set()

    def call_again(self, task: Task) -> JsonConnection | None:
        """One call to a task that was lost: a connection if it is here, and was told to go.

        Where it carries something else than the leader, it is told so, and ends.
        """
        try:
            met = self._call_once(task, _ANSWER_TIMEOUT_S)
        except (OSError, EOFError, ProtocolError, UnicodeError):
            return None
        error = self._difference({task: met})
        with contextlib.suppress(OSError):
            met.send(_verdict(error) if error else self._go)
            if not error:
                return met.link
        met.link.close()
        return None

    def _call_all(self) -> None:
        for task in self._peers:
            self._call(task)
        error = None
        with self._changed:
            while len(self._met) < len(self._peers) and time.monotonic() < self._deadline:
                self._changed.wait(_RETRY_EVERY_S)
                self._call_again_who_left()
                if error := error or self._difference(self._met):
                    # Late-comers have time to hear of it too.
                    self._deadline = min(self._deadline, time.monotonic() + _GRACE_S)
            self._is_over.set()
        if error := self._difference(self._met) or error:
            raise error
        if len(self._met) < len(self._peers):
            raise self._missing()

    def _call(self, task: Task) -> None:
        threading.Thread(target=self._keep_calling, args=(task,), daemon=True).start()

    def _keep_calling(self, task: Task) -> None:
        while not self._is_over.is_set():
            try:
                return self._keep(task, self._call_once(task, self._left_s()))
            except (OSError, EOFError, ProtocolError, UnicodeError) as error:
                self._reasons[task] = reason(error)
            self._is_over.wait(_RETRY_EVERY_S)

    def _call_once(self, task: Task, remaining_s: float) -> AuthenticatedConnection:
        link = JsonConnection(connect(self._cluster.address(task), _CONNECT_TIMEOUT_S))
        says = {**self._hello, "remaining_s": remaining_s}
        try:
            met = call(link, self._key, says, time.monotonic() + _ANSWER_TIMEOUT_S)
            if not _is_hello(met.said):
                raise ProtocolError
        except BaseException as error:
            link.close()
            if isinstance(error, AuthenticationError):
                self._warn_of(task)
            raise
        return met

    def _warn_of(self, task: Task) -> None:
        if task not in self._imposters:
            self._imposters.add(task)
            address = self._cluster.address(task)
            logging.warning("%s at %s does not know the secret (%s)", task, address, FLAG)

    def _left_s(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _keep(self, task: Task, met: AuthenticatedConnection) -> None:
        with self._changed:
            if self._is_over.is_set():
                met.link.close()
                return
            self._met[task] = met
            self._changed.notify()

    def _call_again_who_left(self) -> None:
        # Nobody speaks between hello and verdict, so what can be read is the end of a connection.
        for task in [task for task, met in self._met.items() if met.link.is_readable()]:
            self._met.pop(task).link.close()
            self._reasons[task] = "it answered, and left"
            self._call(task)

    def _difference(self, met: Mapping[Task, AuthenticatedConnection]) -> ClusterError | None:
        everyone = {self._cluster.task: self._hello["fingerprint"]}
        everyone |= {task: one.said["fingerprint"] for task, one in met.items()}
        if error := difference(everyone):
            return error
        for task, one in met.items():
            if one.said["task"] != [task.type, task.index]:
                return self._mistaken(task, Task(*one.said["task"]))
        return None

    def _mistaken(self, expected: Task, answered: Task) -> ClusterError:
        return ClusterError(
            f"`cluster.{expected.type}[{expected.index}]` must be the address of {expected}, but "
            f"{answered} answered. Received: {self._cluster.address(expected)!r}; correct the `task` "
            "there, or the order of the addresses."
        )

    def _missing(self) -> ClusterError | Resumable:
        missing = [task for task in self._peers if task not in self._met]
        if imposters := [task for task in missing if task in self._imposters]:
            names = [f"{task} at {self._cluster.address(task)}" for task in imposters]
            them = "does" if len(names) == 1 else "do"
            return secret_lib.differ(
                f"{listed(names)} {them} not know the secret of {self._cluster.task}"
            )
        names = " and ".join(
            f"{task} at {self._cluster.address(task)} ({self._reasons[task]})" for task in missing
        )
        them = "it" if len(missing) == 1 else "them"
        return Resumable(
            f"{names} did not answer within {self._timeout_s:g} s; "
            f"start {them}, or {_otherwise(self._cluster)}, and run again.",
            task=missing[0],
        )

    def _tell(self, verdict: Message) -> None:
        for met in self._met.values():
            try:
                met.send(verdict)
            except OSError:
                pass  # It left; whoever watches the membership will hear so.

    def _hang_up(self) -> None:
        for met in self._met.values():
            met.link.close()


def _verdict(error: ClusterError | Resumable) -> Message:
    if isinstance(error, ClusterError):
        return {"verdict": "input", "text": str(error)}
    return {"verdict": "resume", "text": str(error), "task": error.task and error.task.as_json()}


# The other tasks' side.


def _await_call(
    cluster: ClusterSpec, key: bytes, hello: Message, timeout_s: float
) -> tuple[JsonConnection, str]:
    """The connection the leader made and said "go" on, and the run it named."""
    deadline = time.monotonic() + timeout_s
    with listen(cluster) as listener, AuthenticatingListener(listener, key, hello) as reception:
        while met := reception.next_caller(deadline):
            try:
                if not _is_hello(met.said):
                    raise ProtocolError
                left_s = min(float(met.said.get("remaining_s", 0)), _LONGEST_S)
                verdict = met.receive(time.monotonic() + left_s + _ANSWER_TIMEOUT_S)
            except (OSError, EOFError, ProtocolError, TypeError, ValueError):
                met.link.close()  # The leader left, and may be back: it is called for the same run.
                continue
            if verdict.get("verdict") != "go":
                met.link.close()
                raise _error(verdict)
            if met.said["task"] == [cluster.leader.type, cluster.leader.index]:
                return met.link, str(verdict.get("run"))
            met.link.close()  # Only the leader may say so.
    if reception.imposters:
        raise secret_lib.differ(
            f"a caller from {listed(sorted(reception.imposters))} that does not know the secret of "
            f"{cluster.task}, and no call of {cluster.leader}, which leads"
        )
    raise Resumable(
        f"{cluster.leader}, which leads, at {cluster.address(cluster.leader)} did not complete the "
        f"roll call within {timeout_s:g} s; start it, or {_otherwise(cluster)}, and run again.",
        task=cluster.leader,
    )


def _otherwise(cluster: ClusterSpec) -> str:
    """What helps where tasks are awaited that nobody meant to start."""
    if cluster.source == slurm.PLACE:  # As in a shell that is the first task of a step.
        return "set TF_CONFIG={} to train alone"
    return f"correct {cluster.source}"


def _error(verdict: Message) -> ClusterError | Resumable:
    text = str(verdict.get("text"))
    if verdict.get("verdict") == "input":
        return ClusterError(text)
    return Resumable(text, task=Task.from_json(verdict.get("task")))


def _is_hello(said: Message) -> bool:
    task = said.get("task")
    return (
        isinstance(said.get("fingerprint"), dict)
        and isinstance(task, list)
        and [type(part) for part in task] == [str, int]
    )
