"""Does truncation remove the lines of later steps and incomplete lines, and nothing else?"""

import pytest

from trainer.metrics import jsonl

LINES = [
    b'{"step": 5}\n',
    b'{"step": 10, "event": "train"}\n',
    b'{"step": 10}\n',
    b'{"step": 15}\n',
]


@pytest.mark.parametrize(
    "last_step, kept", [(0, 0), (5, 1), (9, 1), (10, 3), (14, 3), (15, 4), (99, 4)]
)
def test_lines_up_to_the_step_are_kept(last_step, kept, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join(LINES))
    jsonl.truncate_after_step(path, last_step)
    assert path.read_bytes() == b"".join(LINES[:kept])


@pytest.mark.parametrize("tail", [b'{"step": 1', b'{"step": 1}', b"\x00\x00\n", b"{}\n", b"[1]\n"])
def test_the_file_is_cut_before_an_incomplete_or_damaged_line(tail, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LINES[0] + tail)
    jsonl.truncate_after_step(path, 99)
    assert path.read_bytes() == LINES[0]


def test_a_writer_that_has_the_file_open_appends_at_its_new_end(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with open(path, "ab", buffering=0) as file:
        file.write(b"".join(LINES))
        jsonl.truncate_after_step(path, 5)
        file.write(b'{"step": 6}\n')
    assert path.read_bytes() == LINES[0] + b'{"step": 6}\n'


def test_a_missing_file_is_not_created(tmp_path):
    jsonl.truncate_after_step(tmp_path / "none.jsonl", 5)
    assert not (tmp_path / "none.jsonl").exists()
