"""Does a comparison end with the same runs if it is killed, and with one page of all of them?"""

import json
import signal

import pytest

from tests.cluster import cluster, held
from tests.cluster.cluster import Process

FLAGS = [
    "--config=digits_dense", "--config.data.train_examples=300", "--config.train.epochs=3",
    "--vary", "sync.mode=gradients,parameters:2,async_window:3", "--vary=data.partition=random:4",
]  # fmt: skip


def _started(workdir):
    return Process([*cluster.TRAINER, "compare", f"--workdir={workdir}", *FLAGS])


def test_a_killed_comparison_resumes_and_ends_with_a_page_of_all_variants(tmp_path):
    with held.before(epoch=1, only="trials/0001"), _started(tmp_path) as process:
        process.await_line("trial 0000 completed")
        started = cluster.descendants(process.pid)
        process.send(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        cluster.await_end_of(started)
    assert not (tmp_path / "compare.html").exists()
    with _started(tmp_path) as process:
        assert process.wait() == 0, process.said
    assert "resuming after" in process.said
    found = json.loads((tmp_path / "compare.json").read_text())["variants"]
    gradients, parameters, windows = found
    assert [one["values"]["sync.mode"] for one in found] == [
        "gradients", "parameters:2", "async_window:3"
    ]  # fmt: skip
    assert gradients["weights_sha256"] == windows["weights_sha256"]  # As one worker pushes.
    assert all(0.5 < one["metrics"]["accuracy"] < 1 for one in found)
    assert [one["examples"] for one in found] == [900, 900, 900]
    # 4 + 1 blocks of 64 make an epoch, in which 2 steps are apart.
    assert (gradients["agreements"], parameters["agreements"]) == (15, 9)
    assert gradients["bytes"] > parameters["bytes"] > 0 and windows["bytes"] > 0
    assert "staleness" in windows and "staleness" not in gradients
    for one in found:
        assert len(one["share_sizes"]) == 4 and sum(one["share_sizes"]) == 300
        curve = one["curves"]["test_accuracy"]
        assert [point["examples"] for point in curve] == [300, 600, 900]
        assert curve[-1]["bytes"] == one["bytes"]
        assert curve[-1]["value"] == pytest.approx(one["metrics"]["accuracy"])
    html = (tmp_path / "compare.html").read_text()
    assert "mode=parameters:2 partition=random:4, test" in html and 'id="by-bytes"' in html
