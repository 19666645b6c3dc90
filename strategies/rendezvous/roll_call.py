"""Is everyone here, with the same config and versions?

`meet` answers this before TensorFlow's servers start, as TensorFlow waits for a missing peer forever
and ignores signals meanwhile. Every task except the leader listens on its own address. The leader calls
each of them until all have answered or the deadline passes, compares their fingerprints, and sends all
of them the verdict. With a secret, or certificates, all of this and what follows is within TLS.

The listeners are closed before `meet` returns, but the connections stay open: they become the
`Membership`. TensorFlow's server can bind a port that has a connection and no listener, as both sides
set SO_REUSEADDR.
"""

import contextlib
import secrets

from strategies.cluster.spec import ClusterSpec
from strategies.errors import InputError, Resumable
from strategies.network.handshake import Handshake
from strategies.network.security import PLAIN, Security
from strategies.rendezvous.follower import wait_for_leader
from strategies.rendezvous.leader import Leader
from strategies.rendezvous.membership import Membership
from strategies.rendezvous.mismatch import BAD_INPUT, plain
from strategies.rendezvous.verdict import Fingerprint, is_introduction

_RUN_NAME_BYTES = 16
_CLUSTER_NAME_CHARACTERS = 32


def meet(
    cluster: ClusterSpec,
    fingerprint: Fingerprint,
    timeout_s: float,
    security: Security = PLAIN,
) -> Membership:
    """The membership of a cluster whose tasks are all present and have equal fingerprints.

    Args:
      cluster: the tasks and their addresses. A single task meets no other, nor does an evaluator.
      fingerprint: names to JSON values or, nested, to such mappings: versions, the config.
      timeout_s: seconds until every task must be here.
      security: a task that it does not trust is rejected. Without one every task is accepted.

    Raises:
      ClusterError: a port is in use, another task answers at an address, or fingerprints differ. All
        tasks that are here raise the same error. Or this task rejected its leader.
      Resumable: a task is missing after `timeout_s`. Again the same error for all.
    """
    if cluster.is_single_task or cluster.is_evaluator:
        return Membership(cluster, {})
    introduction = {
        "task": cluster.task.as_json(),
        "fingerprint": plain(
            {"cluster": cluster.as_dict(), **fingerprint, "encrypt": security.encrypt}
        ),
    }
    name = cluster.fingerprint()[:_CLUSTER_NAME_CHARACTERS]
    handshake = Handshake(security, introduction, is_introduction, name)
    if cluster.is_leader:
        run = secrets.token_hex(_RUN_NAME_BYTES)
        leader = Leader(cluster, handshake, run, timeout_s)
        return Membership(cluster, leader.gather(), run, leader.call_again, security)
    connection, run = wait_for_leader(cluster, handshake, timeout_s)
    return Membership(cluster, {cluster.leader: connection}, run, security=security)


def refuse(
    cluster: ClusterSpec, error: InputError, timeout_s: float, security: Security = PLAIN
) -> None:
    """Tells the peers that this task ends with bad input, so that they end too and give its reason.

    Returns after `timeout_s`, or once they know it. Peers that start later are not told.
    """
    if cluster.is_single_task or cluster.is_evaluator:
        return
    text = f"{cluster.task} ends with bad input: {error}"
    with contextlib.suppress(InputError, Resumable):
        meet(cluster, {BAD_INPUT: text}, timeout_s, security).close()
