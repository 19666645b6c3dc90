"""Does a comparison's table and file say what each variant reached, and what it took?"""

import json

from tests.unit.trainer.reporting.report import made_up
from trainer.reporting.report import page
from trainer.reporting.report.history import read
from trainer.tune.comparison import variants
from trainer.tune.results.comparison import Compared, as_json, table
from trainer.tune.search.record import COMPLETED, FAILED, TrialRecord


def compared(folder):
    """One run that completed, after 300 steps and 30 epochs of 245 examples, and one that failed."""
    runs = []
    for number, variant in enumerate(variants(["sync.mode=gradients,parameters:20"])):
        workdir = made_up.workdir(folder / str(number))
        summary = json.loads(workdir.summary.read_text())
        summary |= {"agreements": 300, "update_bytes": 1_500_000, "epsilon": 2.5, "seconds": 9.0}
        workdir.summary.write_text(json.dumps(summary))
        record = TrialRecord(str(number), {}, COMPLETED, metrics=summary, seconds=61.0)
        runs.append(Compared(variant, record, read(workdir)))
    workdir.summary.unlink()
    runs[1] = Compared(variant, TrialRecord("1", {}, FAILED, error="no memory"), read(workdir))
    return runs


def test_a_line_for_each_variant_has_its_figures_and_its_cost(tmp_path):
    head, first, second = (line.split() for line in table(compared(tmp_path)).splitlines())
    assert head == ["mode", "accuracy", "loss", "examples", "agreements", "bytes", "staleness",
                    "epsilon", "time"]  # fmt: skip
    assert first[:6] == ["gradients", "0.9375", "0.2500", "7,350", "300", "1.5M"]
    assert first[6:9] == ["1.5000", "2.5", "1"]
    assert second[0] == "parameters:20" and second[-1] == "failed"


def test_the_file_has_curves_by_step_examples_time_and_bytes(tmp_path):
    done, failed = as_json(compared(tmp_path))["variants"]
    assert (done["examples"], done["bytes"], done["staleness"]) == (7350.0, 1_500_000, 1.5)
    (point,) = (one for one in done["curves"]["validation_accuracy"] if one["step"] == 30)
    assert point == {"step": 30, "examples": 735.0, "seconds": 35.0, "bytes": 150_000.0,
                     "value": 1 - 1 / 30}  # fmt: skip
    assert (failed["status"], failed["error"]) == ("failed", "no memory")
    assert failed["curves"]["validation_accuracy"][0]["examples"] is None


def test_clients_see_the_examples_of_their_shares(tmp_path):
    workdir = made_up.workdir(tmp_path / "run")
    config = json.loads(workdir.config.read_text())
    config["sync"]["mode"] = "federated"
    config["data"].update(partition="random", partitions=5)
    config["federated"].update(clients_per_round=2, local_epochs=3)
    workdir.config.write_text(json.dumps(config))
    summary = json.loads(workdir.summary.read_text())
    workdir.summary.write_text(json.dumps(summary | {"epochs": 300, "share_sizes": [49] * 5}))
    assert read(workdir).examples_at(10) == 10 * 2 * 3 * 49


def test_a_page_of_several_runs_is_also_by_examples_and_bytes(tmp_path):
    runs = [run.history for run in compared(tmp_path)]
    html = page.render(runs, ["one", "two"], "title")
    for axis in ("step", "time", "examples", "bytes"):
        assert f'id="by-{axis}"' in html and html.count(f'class="by-{axis}"') == 5
    assert "150kB" in html and "1.5MB" in html and "<h1>title</h1>" in html
    assert "one, validation" in html
    assert "by-bytes" not in page.render(runs[:1]).partition("</style>")[2]
