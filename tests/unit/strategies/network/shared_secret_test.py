"""Is a secret read, or rejected, and never shown?"""

import os

import pytest

from strategies.errors import ClusterError
from strategies.network import shared_secret

LONG = "0123456789abcdef"


def test_the_file_is_read_whole_and_stripped_and_overrides_the_environment(tmp_path):
    file = tmp_path / "secret"
    file.write_text(f"\n{LONG} and more\n")
    environ = {shared_secret.VARIABLE: f" {LONG}\n"}
    assert shared_secret.read(str(file), environ) == f"{LONG} and more".encode()
    assert shared_secret.read("", environ) == LONG.encode()
    assert (
        shared_secret.read("", {}) == shared_secret.read("", {shared_secret.VARIABLE: " "}) == b""
    )


@pytest.mark.parametrize("text", ["", " \n", "short", LONG[:-1] + "\n"])
def test_a_short_secret_is_rejected_and_not_shown(text, tmp_path):
    file = tmp_path / "secret"
    file.write_text(text)
    with pytest.raises(ClusterError) as caught:
        shared_secret.read(str(file), {})
    assert f"Received: {len(text.strip())};" in str(caught.value)
    assert "`--secret_file` must hold a secret of 16 characters or more" in str(caught.value)
    assert not text.strip() or text.strip() not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path):
    missing, binary = tmp_path / "missing", tmp_path / "binary"
    binary.write_bytes(b"\xff" * 40)
    for path, reason in (
        (missing, "No such file"), (tmp_path, "Is a directory"), (binary, "it is not text"),
    ):  # fmt: skip
        with pytest.raises(ClusterError, match=f"{path}' \\({reason}"):
            shared_secret.read(str(path), {})


def test_a_variable_may_hold_any_bytes():
    raw = b"\xff\xfe 0123456789abcd \xfd"
    assert shared_secret.read("", {"MUSTER_SECRET": os.fsdecode(raw)}) == raw
