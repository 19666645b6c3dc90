"""Are the ways of a peer ones that it has, and is a way that fails or does other work shown as that?"""

import ast
import sys

import pytest

from benchmarks import environments, processes, tables, ways, work
from tests.paths import ROOT


def _options_of(module: str) -> set[str]:
    """The names of the options that a peer's file takes."""
    path = ROOT / "benchmarks" / "peers" / f"{module}.py"
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    found = [call for call in calls if getattr(call.func, "id", "") == "options"]
    return {keyword.arg or "" for call in found for keyword in call.keywords}


@pytest.mark.parametrize("name", ways.WAYS)
def test_every_way_has_options_that_the_peer_takes_and_its_first_is_the_peer_as_it_is(name):
    peer, known = ways.WAYS[name]
    assert peer.environment in {environments.MUSTER, *environments.PINS}
    assert known[0] == () and len({*known}) == len(known)
    assert {word.partition("=")[0] for way in known for word in way} <= _options_of(peer.module)


def test_the_peers_of_the_tables_are_given_options_that_they_take():
    for table in tables.TABLES:
        for peer in table.peers:
            if peer.module in {way[0].module for way in ways.WAYS.values()}:
                given = {word.partition("=")[0] for word in peer.args}
                assert given <= _options_of(peer.module), peer


def test_an_option_is_json_or_text_and_an_unknown_one_ends_the_peer(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["peer", "{}", "steps=50", "jit=true", "input=arrays"])
    found = work.options(steps=1, jit=False, input="tensors", devices=1)
    assert vars(found) == {"steps": 50, "jit": True, "input": "arrays", "devices": 1}
    monkeypatch.setattr(sys, "argv", ["peer", "{}", "step=50"])
    with pytest.raises(SystemExit, match="'step' is not one of the options steps"):
        work.options(steps=1)


def test_the_fastest_way_is_first_and_other_work_and_failures_are_marked(monkeypatch):
    known = ((), ("a=1",), ("b=1",), ("c=1",))
    peer = tables.Peer("peer", "keras_fit")
    monkeypatch.setitem(ways.WAYS, "peer", (peer, known))
    found = {
        (): {"examples_per_s": 100.0, "loss": 0.5},
        ("a=1",): {"examples_per_s": 900.0, "loss": 0.5001},
        ("b=1",): {"examples_per_s": 500.0, "loss": 0.6},
    }

    def run_peer(one, work, deadline_s):
        if one.args not in found:
            raise processes.PeerFailed("exit code 1: boom")
        return found[one.args]

    monkeypatch.setattr(ways, "run_peer", run_peer)
    title, *rows = ways.lines("peer", "file", 64, rounds=2)
    assert title == "\npeer, batch 64: examples a second"
    assert [row.split()[0] for row in rows] == ["900", "500", "100", "not"]
    assert "OTHER WORK: its loss is 0.6000, not 0.5000" in rows[1]
    assert not any("OTHER" in row for row in (rows[0], rows[2]))
    assert rows[3].endswith("c=1: exit code 1: boom")


def test_an_unknown_peer_is_refused(capsys):
    with pytest.raises(SystemExit):
        ways.main(["orbit"])
    assert "no such peer: orbit; there are keras_fit" in capsys.readouterr().err
