"""Does `plan` measure, predict and train, and does a slow link carry what it predicts?"""

import json
import subprocess
import sys

import pytest

from benchmarks.hosts import Hosts, HostsMissing
from strategies.collectives.leaf_runs import LeafRuns
from tests.cluster.cluster import TRAINER, Process
from tests.paths import ROOT
from trainer.estimate.traffic import Link, all_reduce

RATE, NUMBERS = 50e6, 300_000  # Bits per second, and in a vector: 0.2 s.
REPEATS = 6
_TIMED = """
from trainer.estimate.second_worker import SecondWorker
with SecondWorker({host!r}, {within!r}) as second:
    print(second.seconds({size}, {repeats}))
"""


def test_a_plan_has_every_mode_and_what_logical_replicas_reach(tmp_path):
    output = tmp_path / "plan.json"
    flags = [
        "--workers=1,2,64",
        "--accuracy=2",
        "--modes=gradients,dynamic:int8",
        "--config.model.hidden_units=8",
        "--config.train.epochs=2",
        f"--output={output}",
        f"--workdir={tmp_path / 'runs'}",
    ]
    with Process([*TRAINER, "plan", *flags]) as process:
        assert process.wait(300) == 0, process.said
        said = process.said
    found = json.loads(output.read_text(encoding="utf-8"))
    rows = {(row["workers"], row["mode"], row["interval"]): row for row in found["rows"]}
    each = [("gradients", 1), ("dynamic", 5), ("dynamic", 80)]
    # Of 4 blocks no 64 workers get one.
    wanted = {(workers, *one) for workers in (1, 2, 64) for one in each}
    assert rows.keys() == wanted - {(64, "gradients", 1)}
    # 784 x 8 + 8 + 8 x 10 + 10 weights; the loss, the accuracy, the number of examples, and the stop.
    assert found["sizes"]["gradients"] == 6370 + 3 + 1
    assert rows[2, "gradients", 1]["traffic"]["sent_bytes"] == 4 * 6374
    assert 0 < rows[2, "dynamic", 5]["efficiency"] < 1
    accuracies = {one["mode"]: one["test_accuracy"] for one in found["accuracies"]}
    for mode in ("gradients", "dynamic:int8"):
        assert 0.1 < accuracies[mode] <= 1
    assert "plan       " in said and found["sentence"] in said


def test_an_exchange_over_a_slow_link_sends_what_is_predicted_and_is_not_faster():
    try:
        with Hosts(2, RATE) as hosts:
            before = [hosts.sent_bytes(place) for place in range(2)]
            program = _TIMED.format(
                host=hosts.addresses[0], within=hosts.within(1), size=NUMBERS, repeats=REPEATS
            )
            done = subprocess.run(
                [*hosts.within(0), sys.executable, "-c", program],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=120,
                check=True,
            )
            sent = [hosts.sent_bytes(place) - old for place, old in enumerate(before)]
    except HostsMissing as error:
        pytest.skip(str(error))
    traffic = all_reduce(NUMBERS, LeafRuns((1, 1)))
    for each in sent:
        # TCP's and Ethernet's headers are 66 bytes of 1,514; acknowledgements and repeats come to that.
        assert traffic.sent_bytes * REPEATS <= each < 1.15 * traffic.sent_bytes * REPEATS
    # How much slower a busy machine is says nothing here; `benchmarks/plan.py` measures an idle one.
    assert float(done.stdout) > 0.95 * Link(RATE, 0.0).seconds(traffic)
