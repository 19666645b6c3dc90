"""Does a page show what a run left, whatever is missing, and say nothing that is not there?"""

import json
import re

import pytest

from tests.unit.trainer.reporting.report import made_up
from trainer.reporting.report import page
from trainer.storage.atomic_files import WorkdirError
from trainer.storage.workdir import Workdir


def text(*workdirs):
    return page.render([page.read(workdir) for workdir in workdirs])


def words(html):
    """The text of a page without its markup."""
    body = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


@pytest.fixture
def run(tmp_path):
    return made_up.workdir(tmp_path / "run")


def test_the_page_of_a_run_has_its_result_first_and_then_why(run):
    shown = words(text(run))
    parts = ["test accuracy 0.9375", "multi_worker : TF_CONFIG has 2 tasks", "by step",
             "of 5 min 05 s went", "share 1 225", "train.epochs 7 10"]  # fmt: skip
    at = [shown.index(part) for part in parts]
    assert at == sorted(at)
    assert "command line; recipe: 10" in shown
    assert "900 of the first 5,000 of 10,000 test examples are answered right." in shown


def test_numbers_that_a_run_recorded_by_any_name_are_drawn_and_no_others(run):
    html = text(run)
    titles = re.findall(r"<figcaption>([^<]*)</figcaption>", html)
    assert titles == ["loss", "accuracy", "staleness", "bytes sent", "learning rate",
                      "Prediction (up) by truth"]  # fmt: skip
    assert html.count('class="chart"') == 2 * 5 + 1
    assert "epsilon" not in html


def test_restarts_faults_and_skipped_batches_are_on_the_time_line(run):
    html = text(run)
    shown = words(html)
    for what in ("all: started again", "all: resumed at step 145", "all: skipped the batch of step 140",
                 "all: worker 1 was lost (killed)", "all: finished"):  # fmt: skip
        assert what in shown
    assert html.count("m-lost") == 2 + 1  # Two tasks, and the style sheet.


def test_what_a_file_says_is_text_and_never_markup(run):
    html = text(run)
    assert "made up examples &amp; &lt;labels&gt;" in html
    assert "<b>1</b>" not in html


def test_a_page_loads_nothing(run):
    html = text(run)
    assert not re.findall(r'(?:src|href)="(?!#|data:)', html)
    assert "http" not in html.replace("http-equiv", "")


@pytest.mark.parametrize(
    "missing", ["metrics.jsonl", "summary.json", "report.json", "timelines", "all"]
)
def test_whatever_is_missing_is_left_out(run, missing):
    for path in run.path.iterdir():
        is_named = (
            path.name == missing or path.name.startswith("timeline") and missing == "timelines"
        )
        if is_named or missing == "all" and path.name != "config.json":
            path.unlink()
    html = text(run)
    assert "made_up" in html and "<section" in html and ">None<" not in html
    sections = re.findall(r'<section id="(\w+)"', html)
    gone = {"metrics.jsonl": "curves", "report.json": "answers", "timelines": "time"}
    assert gone.get(missing) not in sections
    if missing == "all":
        assert sections == ["result", "config"]


@pytest.mark.parametrize(
    "damage", ["", "[1]", "{", '{"event": "train"}', '{"answers": {}}', "\0" * 100]
)
def test_damaged_files_are_left_out(run, damage):
    for path in (run.metrics, run.summary, run.report_facts):
        path.write_text(damage)
    assert "made_up" in text(run)


@pytest.mark.parametrize(
    "damage", ['{"steps": "many"}', '{"ended_by": 3}', '{"time": 1, "epochs": []}']
)
def test_values_that_cannot_be_drawn_are_one_line(run, tmp_path, damage):
    run.summary.write_text(damage)
    with pytest.raises(WorkdirError, match="values cannot be drawn") as caught:
        page.write([run], tmp_path / "report.html")
    assert len(str(caught.value).splitlines()) == 1 and str(run.path) in str(caught.value)


def test_a_run_that_failed_says_why(run):
    run.summary.unlink()
    path = run.path / "timeline-worker-0.jsonl"
    last = {"event": "end", "text": "the loss became nan at step 7", "time": made_up.BEGAN + 301}
    path.write_text(path.read_text() + json.dumps(last) + "\n")
    assert "failed: the loss became nan at step 7" in words(text(run))


def test_a_run_that_still_trains_is_not_finished(run):
    run.summary.unlink()
    path = run.path / "timeline-worker-0.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert "not finished at step 300" in words(text(run))


def test_several_runs_are_side_by_side_with_what_differs(tmp_path, run):
    other = made_up.workdir(tmp_path / "other", seed=3)
    html = text(run, other)
    shown = words(html)
    assert "2 runs run · other" in shown
    assert "Fields in which the runs differ. Field run other train.seed 0 3" in shown
    assert "All runs ended in the same weights, to the bit." in shown
    assert "train.epochs" not in shown
    assert shown.count("tensorflow 2.21.0") == 1


def test_folders_of_one_name_are_told_apart(tmp_path):
    runs = []
    for parent in ("a", "b"):
        (tmp_path / parent).mkdir()
        runs.append(made_up.workdir(tmp_path / parent / "run"))
    assert "a/run · b/run" in words(text(*runs))


def test_a_folder_without_a_run_is_an_error_that_names_it(tmp_path):
    with pytest.raises(WorkdirError, match="holds no run"):
        page.write([Workdir(tmp_path)], tmp_path / "report.html")
    assert [*tmp_path.iterdir()] == []
