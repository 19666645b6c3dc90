"""Do the peers of the table of sources read the same examples?"""

import json
import sys

import pytest

from benchmarks import environments, sources


@pytest.mark.parametrize(
    "kind", ["npz", *(pytest.param(one, marks=pytest.mark.long) for one in sources.KINDS[1:])]
)
def test_every_peer_finds_the_same_sum(kind, tmp_path, monkeypatch, capfd):
    """Those of PyTorch only where it is installed."""
    peers = [peer for peer in sources.PEERS if peer[3] == environments.MUSTER]
    monkeypatch.setattr(sources, "PEERS", peers)
    path = sources.write(kind, tmp_path, 200)
    reading = sources.Reading(kind, path, 200, sources.BATCH, 0.01)
    found = sources.measure(reading, rounds=1)
    assert {*found} == {peer[0] for peer in peers if kind not in peer[4]}
    assert all(speed > 0 for speed in found.values())


def test_peers_that_read_other_examples_end_the_run(monkeypatch):
    totals = iter([1.0, 2.0])
    monkeypatch.setattr(
        sources.processes,
        "run",
        lambda command, deadline_s: {"slices": [1.0], "total": next(totals)},
    )
    reading = sources.Reading("arrayrecord", "nowhere", 1, 1, 1.0)
    assert json.loads(reading.to_arg())["kind"] == "arrayrecord" and sys.executable
    with pytest.raises(sources.SumsDiffer, match="arrayrecord: .*1.0.*2.0"):
        sources.measure(reading, rounds=1)
