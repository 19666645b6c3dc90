"""How does a task answer the leader's call?

`wait_for_leader` listens on the task's own address until a caller proves that it knows the secret,
introduces itself as the leader, and sends the verdict.
"""

import time

from strategies.cluster.spec import ClusterSpec
from strategies.errors import Resumable
from strategies.network import shared_secret
from strategies.network.connection import JsonConnection, Message, ProtocolError
from strategies.network.handshake import AuthenticatingListener
from strategies.network.sockets import listen
from strategies.rendezvous import verdict
from strategies.rendezvous.mismatch import listed

_MAX_REMAINING_S = 86_400.0


def wait_for_leader(
    cluster: ClusterSpec, key: bytes, hello: Message, timeout_s: float
) -> tuple[JsonConnection, str]:
    """The connection on which the leader sent "go", and the name it gave the run.

    Raises:
      ClusterError: the leader sent this error; or this task's own address cannot be listened on; or
        a caller did not know the secret, and the leader did not call.
      Resumable: the leader sent this error, or sent no verdict within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    with listen(cluster) as listener, AuthenticatingListener(listener, key, hello) as callers:
        while caller := callers.next_caller(deadline):
            try:
                if not verdict.is_hello(caller.introduction):
                    raise ProtocolError
                left_s = min(float(caller.introduction.get("remaining_s", 0)), _MAX_REMAINING_S)
                answer = caller.receive(time.monotonic() + left_s + verdict.ANSWER_TIMEOUT_S)
            except (OSError, EOFError, ProtocolError, TypeError, ValueError):
                caller.link.close()  # A leader that was restarted calls again, for the same run.
                continue
            if not verdict.is_go(answer):
                caller.link.close()
                raise verdict.error_of(answer)
            if caller.introduction["task"] == [cluster.leader.type, cluster.leader.index]:
                return caller.link, str(answer.get("run"))
            caller.link.close()  # Only the leader may start the run.
    if callers.rejected_hosts:
        raise shared_secret.mismatch_error(
            f"a caller from {listed(sorted(callers.rejected_hosts))} that does not know the secret of "
            f"{cluster.task}, and no call from {cluster.leader}, the leader"
        )
    raise Resumable(
        f"{cluster.leader}, the leader, at {cluster.address(cluster.leader)} did not complete the "
        f"roll call within {timeout_s:g} s; start it, or {verdict.fix_for_missing_tasks(cluster)}, "
        "and run again.",
        task=cluster.leader,
    )
