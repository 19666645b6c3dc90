"""What a sweep has decided is read back as it was, whenever it was killed."""

import contextlib

import pytest

from strategies.errors import InputError
from trainer.storage.atomic_files import WorkdirError
from trainer.tune.search import ledger
from trainer.tune.search.ledger import Ledger

ASKED = {"tuner": "random", "seed": 3, "space": [("a", (1, 2))]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def begin(path, *ids):
    with contextlib.closing(Ledger(path, ASKED)) as book:
        for trial_id in ids:
            book.write(ledger.ASKED, id=trial_id, values={"x": 0.1})


def read(path):
    with contextlib.closing(Ledger(path, ASKED)) as book:
        return [(event["event"], event["id"]) for event in book.events]


def test_a_new_ledger_holds_nothing(path):
    assert read(path) == []


def test_what_was_written_is_read_back_in_its_order(path):
    begin(path, "0", "1")
    with contextlib.closing(Ledger(path, ASKED)) as book:
        book.write(ledger.ENDED, id="0")
    assert read(path) == [("asked", "0"), ("asked", "1"), ("ended", "0")]


@pytest.mark.parametrize("left", range(1, 40))
def test_a_last_line_that_was_cut_short_is_as_if_it_had_never_begun(path, left):
    begin(path, "0")
    whole = path.read_bytes()
    begin(path, "1")
    path.write_bytes(path.read_bytes()[: len(whole) + left])
    assert read(path) == [("asked", "0")]
    begin(path, "2")
    assert read(path) == [("asked", "0"), ("asked", "2")]


@pytest.mark.parametrize("damage", [b"{", b"[]", b'"asked"', b'{"id": 1}', b"\xff\xfe"])
def test_a_damaged_line_within_is_named(path, damage):
    begin(path, "0", "1")
    lines = path.read_bytes().split(b"\n")
    lines[1] = damage
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(WorkdirError, match="line 2 of .*ledger.jsonl"):
        Ledger(path, ASKED)


def test_a_ledger_that_does_not_begin_as_one_is_refused(path):
    path.write_text('{"event": "asked", "id": "0"}\n')
    with pytest.raises(WorkdirError, match="does not begin"):
        Ledger(path, ASKED)


def test_another_sweep_is_refused_by_the_field_that_differs(path):
    begin(path)
    with pytest.raises(InputError, match="`seed` was 3. Received: 4 for .*choose another folder"):
        Ledger(path, {**ASKED, "seed": 4})


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(WorkdirError, match="No such file"):
        Ledger(tmp_path / "missing" / "ledger.jsonl", ASKED)
