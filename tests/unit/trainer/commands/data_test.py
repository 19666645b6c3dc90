"""Does `data` show the shares that a run would have?"""

import pytest

from tests import source_files
from trainer.cli import parser
from trainer.commands import data
from trainer.config.fields import ConfigError
from trainer.order.errors import PartitionError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder in which the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def _printed(capsys, *args):
    assert data.run(parser.parse(["data", *args])) == 0
    return capsys.readouterr().out.splitlines()


def test_the_shares_of_a_recipe_are_a_table_and_a_picture(folder, capsys):
    lines = _printed(capsys, "digits_dense", "--partition=shards", "--partitions=25")
    assert lines[1].startswith(
        "shares     25 shares of 59 to 60 examples, shards; divergence of the labels 0.60 bits"
    )
    assert lines[2].split() == [*"share examples part divergence most frequent labels".split()]
    assert len(lines) == 1 + 1 + 1 + 20 + 1 + 1 and lines[-2].strip() == "and 5 more"
    assert lines[-1] == "picture    shares.png"
    assert (folder / "shares.png").read_bytes().startswith(b"\x89PNG")


def test_the_shares_of_a_source_follow_what_is_in_it(folder, capsys):
    source = source_files.npz(folder, source_files.examples())
    flags = ["--config.data.distribution=algorithm", "--partitions=3", "--picture=k.svg"]
    lines = _printed(capsys, source, *flags)
    assert lines[0].startswith("prepared ")
    (found,) = [line for line in lines if line.startswith("shares ")]
    assert "3 shares of " in found and ", k-means on " in found
    assert b"<svg" in (folder / "k.svg").read_bytes()


def test_no_picture_is_drawn_where_none_is_asked_for(folder, capsys):
    lines = _printed(capsys, "linear_100", "--partition=random", "--partitions=2", "--picture=")
    assert "divergence" not in lines[1] and not lines[-1].startswith("picture")
    assert not [*folder.glob("*.png")]


@pytest.mark.parametrize(
    "args, error, message",
    [
        ([], ConfigError, "`data` must be told what to prepare"),
        (["--partition=random"], ConfigError, "`data.partitions` must be at least 1 with random"),
        (["--partition=random", "--partitions=2", "--picture=a.gif"], ConfigError, "--picture"),
        (["--partition=random", "--partitions=9999"], PartitionError, "at most .* 1497"),
        (["--partitions=2"], ConfigError, "`data.partitions` must be 0 without `data.partition`"),
    ],
)
def test_a_wrong_flag_is_one_line_and_draws_nothing(folder, args, error, message):
    with pytest.raises(error, match=message):
        data.run(parser.parse(["data", "digits_dense", *args]))
    assert not [*folder.iterdir()]
