"""How does a task answer the leader's call?

`wait_for_leader` listens on the task's own address until a caller passes the handshake as the leader and
sends the verdict.
"""

import math
import time

from strategies.cluster.spec import ClusterSpec
from strategies.errors import Resumable
from strategies.network.connection import JsonConnection, ProtocolError
from strategies.network.handshake import Handshake, Peer
from strategies.network.listener import AuthenticatingListener
from strategies.network.sockets import listen
from strategies.rendezvous import verdict
from strategies.rendezvous.mismatch import listed

_MAX_REMAINING_S = 86_400.0


def wait_for_leader(
    cluster: ClusterSpec, handshake: Handshake, timeout_s: float
) -> tuple[JsonConnection, str]:
    """The connection on which the leader sent "go", and the name it gave the run.

    Raises:
      ClusterError: the leader sent this error; or this task's own address cannot be listened on; or
        the leader called, and the two do not share the secret.
      Resumable: the leader sent this error, or sent no verdict within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    with listen(cluster) as listener, AuthenticatingListener(listener, handshake) as callers:
        while caller := callers.next_caller(deadline):
            try:
                answer = caller.link.receive(_verdict_deadline(caller, handshake, deadline))
            except (OSError, EOFError, ProtocolError):
                caller.link.close()  # A leader that was restarted calls again, for the same run.
                continue
            if not verdict.is_go(answer):
                caller.link.close()
                raise verdict.error_of(answer)
            if caller.introduction["task"] == cluster.leader.as_json():
                return caller.link, str(answer.get("run"))
            caller.link.close()  # Only the leader may start the run.
    # Anyone can be rejected. A caller that named this cluster is its leader, or knows its addresses.
    if callers.rejected_by_name:
        raise handshake.security.mismatch_error(
            f"a call to {cluster.task} by {cluster.leader}, the leader, from "
            f"{listed(sorted(callers.rejected_by_name))}, {_difference(handshake)}"
        )
    raise Resumable(
        f"{cluster.leader}, the leader, at {cluster.address(cluster.leader)} did not complete the "
        f"roll call within {timeout_s:g} s{_rejected(callers)}; start it, or "
        f"{verdict.fix_for_missing_tasks(cluster)}, and run again.",
        task=cluster.leader,
    )


def _verdict_deadline(caller: Peer, handshake: Handshake, deadline: float) -> float:
    """When the verdict of this caller must be here. Raises ProtocolError where it names no time."""
    claimed_s = caller.introduction.get("remaining_s", 0)
    if type(claimed_s) not in (int, float) or not 0 <= claimed_s < math.inf:
        raise ProtocolError
    at = time.monotonic() + min(claimed_s, _MAX_REMAINING_S)
    # A caller that proved nothing may not keep this task beyond its own deadline.
    return (at if handshake.security.is_on else min(at, deadline)) + verdict.ANSWER_TIMEOUT_S


def _difference(handshake: Handshake) -> str:
    if not handshake.security.is_on:
        return "which has one, while this task has none"
    return "which has another or none" if handshake.security.uses_secret else "which was refused"


def _rejected(callers: AuthenticatingListener) -> str:
    hosts = sorted(callers.rejected_hosts)
    return f" (rejected: callers from {listed(hosts)}, without this task's secret)" if hosts else ""
