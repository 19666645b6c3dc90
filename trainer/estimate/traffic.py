"""What does a worker send for one agreement, and how long does a link take for it?

`Traffic` counts it as `SocketAllReduce`, `CodedSum` and the parameter servers send it; `Link.seconds` is
the time that an idle link needs: latency for each message that waits for another, and the bytes at its
bandwidth.
"""

import dataclasses

from strategies.collectives import halving, vector_shares
from strategies.collectives.leaf_runs import LeafRuns

_FLOAT, _LENGTH = 4, 8  # Bytes of a number, and of the length of a coded message.
# Of the bytes on an Ethernet, with an MTU of 1500, those that TCP carries: 1500 - 20 (IP) - 32 (TCP with
# timestamps), of 1500 + 38 (preamble, header, checksum and gap: IEEE 802.3).
_PAYLOAD = 1448 / 1538


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Of the worker that sends, or receives, the most.

    `phases`: messages that each wait for the one before. `messages`: how many it sends. `in_turn`: it
    sends only after it has received.
    """

    sent_bytes: int
    received_bytes: int
    phases: int
    messages: int
    in_turn: bool = False

    @property
    def bytes(self) -> int:
        """Those that take time, on a link that carries both directions at once."""
        if self.in_turn:
            return self.sent_bytes + self.received_bytes
        return max(self.sent_bytes, self.received_bytes)


@dataclasses.dataclass(frozen=True)
class Link:
    """How each worker is connected. `bits_per_s`: in each direction; `latency_s`: one way."""

    bits_per_s: float
    latency_s: float

    def transfer_s(self, num_bytes: float) -> float:
        """For these bytes of a connection."""
        return num_bytes * 8 / (self.bits_per_s * _PAYLOAD)

    def seconds(self, traffic: Traffic) -> float:
        """From the first byte of an agreement to the last."""
        return traffic.phases * self.latency_s + self.transfer_s(traffic.bytes)


NONE = Traffic(0, 0, 0, 0)


def all_reduce(size: int, runs: LeafRuns) -> Traffic:
    """`SocketAllReduce.sum_runs` of vectors of `size` numbers. Counts for the worker with the most."""
    return _most([all_reduce_of(rank, size, runs) for rank in range(len(runs.counts))])


def all_reduce_of(rank: int, size: int, runs: LeafRuns) -> Traffic:
    """The same for one worker."""
    workers, num_roots = len(runs.counts), [len(roots) for roots in runs.roots]
    if workers == 1:
        return NONE
    if workers == 2 and num_roots == [1, 1]:
        return Traffic(_FLOAT * size, _FLOAT * size, 1, 1)
    if halving.is_possible(workers) and runs.is_level:
        stages = halving.stages(rank, workers, size)
        given = sum(given.stop - given.start for _, _, given in stages)
        kept = sum(kept.stop - kept.start for _, kept, _ in stages)
        each = _FLOAT * (given + kept)  # What it keeps at first it gives in the end.
        return Traffic(each, each, 2 * len(stages), 2 * len(stages))
    share = vector_shares.shares(size, workers)[rank]
    mine, own = share.stop - share.start, num_roots[rank]
    sent = own * (size - mine) + mine * (workers - 1)
    received = mine * (sum(num_roots) - own) + size - mine
    return Traffic(_FLOAT * sent, _FLOAT * received, 2, 2 * (workers - 1))


def coded(message_bytes: int, runs: LeafRuns) -> Traffic:
    """`CodedSum.total` of messages of that many bytes, one for each leaf: everyone gets all of them."""
    workers, leaves = len(runs.counts), runs.num_leaves
    if workers == 1:
        return NONE
    each = message_bytes + _LENGTH
    most, fewest = max(runs.counts), min(runs.counts)
    sent = each * most * (workers - 1)
    return Traffic(sent, each * (leaves - fewest), 2, 2 * (workers - 1))


def window(size: int, num_sums: int, servers: int) -> Traffic:
    """A window's pull and push, of values of `size` numbers in all that are divided among `servers`.

    TensorFlow asks before it sends, so each of the two is a message there and one back.
    """
    return Traffic(
        _FLOAT * (size + servers * num_sums), _FLOAT * size, 4, 2 * servers, in_turn=True
    )


def _most(all_traffic: list[Traffic]) -> Traffic:
    return Traffic(
        max(one.sent_bytes for one in all_traffic),
        max(one.received_bytes for one in all_traffic),
        max(one.phases for one in all_traffic),
        max(one.messages for one in all_traffic),
    )
