"""Is the ledger read back as it was written, whenever the sweep was killed?"""

import contextlib

import pytest

from strategies.errors import InputError
from trainer.storage.atomic_files import WorkdirError
from trainer.tune.search import ledger
from trainer.tune.search.ledger import Ledger

SETTINGS = {"tuner": "random", "seed": 3, "space": [("a", (1, 2))]}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def begin(path, *ids):
    with contextlib.closing(Ledger(path, SETTINGS)) as opened:
        for trial_id in ids:
            opened.write(ledger.ASKED, id=trial_id, values={"x": 0.1})


def read(path):
    with contextlib.closing(Ledger(path, SETTINGS)) as opened:
        return [(event["event"], event["id"]) for event in opened.events]


def test_a_new_ledger_has_no_events(path):
    assert read(path) == []


def test_events_are_read_back_in_order(path):
    begin(path, "0", "1")
    with contextlib.closing(Ledger(path, SETTINGS)) as opened:
        opened.write(ledger.ENDED, id="0")
    assert read(path) == [("asked", "0"), ("asked", "1"), ("ended", "0")]


@pytest.mark.parametrize("left", range(1, 40))
def test_an_incomplete_last_line_is_removed(path, left):
    begin(path, "0")
    whole = path.read_bytes()
    begin(path, "1")
    path.write_bytes(path.read_bytes()[: len(whole) + left])
    assert read(path) == [("asked", "0")]
    begin(path, "2")
    assert read(path) == [("asked", "0"), ("asked", "2")]


@pytest.mark.parametrize("damage", [b"{", b"[]", b'"asked"', b'{"id": 1}', b"\xff\xfe"])
def test_the_error_names_a_damaged_line(path, damage):
    begin(path, "0", "1")
    lines = path.read_bytes().split(b"\n")
    lines[1] = damage
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(WorkdirError, match="line 2 of .*ledger.jsonl"):
        Ledger(path, SETTINGS)


def test_a_file_whose_first_line_is_not_a_ledgers_is_refused(path):
    path.write_text('{"event": "asked", "id": "0"}\n')
    with pytest.raises(WorkdirError, match="first line is not that of a ledger"):
        Ledger(path, SETTINGS)


def test_a_ledger_with_other_settings_is_refused_and_the_setting_named(path):
    begin(path)
    with pytest.raises(InputError, match="`seed` was 3. Received: 4 for .*choose another folder"):
        Ledger(path, {**SETTINGS, "seed": 4})


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(WorkdirError, match="No such file"):
        Ledger(tmp_path / "missing" / "ledger.jsonl", SETTINGS)
