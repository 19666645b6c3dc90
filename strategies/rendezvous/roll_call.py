"""Is everyone here, with the same config and versions?

`meet` answers this before TensorFlow's servers start, as TensorFlow waits for a missing peer forever
and ignores signals meanwhile. Every task except the leader listens on its own address. The leader calls
each of them until all have answered or the deadline passes, compares their fingerprints, and sends all
of them the verdict. The leader and each task prove to each other that they know the cluster's secret,
and the proofs cover what they send.

The listeners are closed before `meet` returns, but the connections stay open: they become the
`Membership`. TensorFlow's server can bind a port that has a connection and no listener, as both sides
set SO_REUSEADDR.
"""

import contextlib
import secrets

from strategies.cluster.spec import ClusterSpec
from strategies.errors import InputError, Resumable
from strategies.network.shared_secret import proof
from strategies.rendezvous.follower import wait_for_leader
from strategies.rendezvous.leader import Leader
from strategies.rendezvous.membership import Membership
from strategies.rendezvous.mismatch import BAD_INPUT, plain
from strategies.rendezvous.verdict import Fingerprint

_RUN_NAME_BYTES = 16


def meet(
    cluster: ClusterSpec, fingerprint: Fingerprint, timeout_s: float, secret: bytes = b""
) -> Membership:
    """The membership of a cluster whose tasks are all present and have equal fingerprints.

    Args:
      cluster: the tasks and their addresses. A single task meets no other, nor does an evaluator.
      fingerprint: names to JSON values or, nested, to such mappings: versions, the config.
      timeout_s: seconds until every task must be here.
      secret: a task that does not know it is rejected. Empty: every task is accepted.

    Raises:
      ClusterError: a port is in use, another task answers at an address, fingerprints differ, or
        a task did not know the secret. All tasks that are here, and know it, raise the same error.
      Resumable: a task is missing after `timeout_s`. Again the same error for all.
    """
    if cluster.is_single_task or cluster.is_evaluator:
        return Membership(cluster, {})
    hello = {
        "task": [cluster.task.type, cluster.task.index],
        "fingerprint": plain({"cluster": cluster.as_dict(), **fingerprint}),
    }
    if cluster.is_leader:
        run = secrets.token_hex(_RUN_NAME_BYTES)
        leader = Leader(cluster, secret, hello, run, timeout_s)
        return Membership(cluster, leader.gather(), _token(secret, run), leader.call_again)
    connection, run = wait_for_leader(cluster, secret, hello, timeout_s)
    return Membership(cluster, {cluster.leader: connection}, _token(secret, run))


def refuse(cluster: ClusterSpec, error: InputError, timeout_s: float, secret: bytes = b"") -> None:
    """Tells the peers that this task ends with bad input, so that they end too and give its reason.

    Returns after `timeout_s`, or once they know it. Peers that start later are not told.
    """
    if cluster.is_single_task or cluster.is_evaluator:
        return
    text = f"{cluster.task} ends with bad input: {error}"
    with contextlib.suppress(InputError, Resumable):
        meet(cluster, {BAD_INPUT: text}, timeout_s, secret).close()


def _token(secret: bytes, run: str) -> str:
    """What the tasks of a run prove to each other that they know. Its key is secret, the run is not."""
    return proof(secret, "token", run)
