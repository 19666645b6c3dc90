"""Do the workers of one machine share memory, encrypted or not, but not behind a slow link?"""

from pathlib import Path

import pytest

from tests.cluster import cluster
from tests.cluster.cluster import TRAINER, Process


@pytest.mark.parametrize(
    "environ, shares",
    [
        ({}, True),
        ({"MUSTER_SECRET": "a secret of many bytes, which both workers have"}, True),
        ({"MUSTER_LINK": "10mbit"}, False),  # As within `compare --link`.
    ],
    ids=["plain", "encrypted", "link"],
)
def test_workers_on_one_machine_share_memory_unless_a_link_is_to_be_crossed(
    environ, shares, tmp_path
):
    flags = [f"--workdir={tmp_path}", "--config.train.steps=1000000"]
    flags += ["--config.train.eval_every_epochs=0"]
    first, second = (
        Process([*TRAINER, *flags], {**cluster.tf_config(spec), **environ})
        for spec in cluster.clusters(worker=2)
    )
    with first, second:
        first.await_line("epoch   2.00")
        for one in (first, second):
            maps = Path(f"/proc/{cluster.guarded(one)}/maps").read_text(encoding="utf-8")
            assert ("muster-vectors" in maps) == shares
