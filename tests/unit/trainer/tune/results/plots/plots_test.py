"""Are the plots readable and correct for any result of the trials?"""

import dataclasses
import itertools
import math
import random
import sys

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from trainer.reporting.plot_style import plot_style
from trainer.tune.results.plots import over_trials, parallel, slices
from trainer.tune.results.plots.axes import Axis
from trainer.tune.results.plots.common import Sweep
from trainer.tune.results.plots.write import write_plots
from trainer.tune.search.record import COMPLETED, FAILED, RUNNING, STOPPED, Objective, TrialRecord
from trainer.tune.space.dimension import between, choice

ACCURACY, LOSS = Objective.named("test_accuracy"), Objective.named("test_loss")
NAMES = ["objective_over_trials.png", "parallel_coordinates.png", "slices.png"]


SPACE = {
    "optimizer.learning_rate": between(1e-5, 0.1, log=True),
    "model.hidden_units": choice((), (32,), (128, 64), (256, 128, 64, 32, 16)),
    "optimizer.name": choice("sgd", "adam", "m$mentum_{"),
    "optimizer.momentum": between(0.0, 0.99, when={"optimizer.name": ["sgd"]}),
    "data.global_batch_size": between(16, 512, log=True),
    "train.checkpoint_every_steps_of_it": between(10, 1000),
    "--workers": choice(*range(1, 31)),
    "sync.every_steps": between(3, 4),
}
DIMENSIONS = [dataclasses.replace(one, name=name) for name, one in SPACE.items()]
RATE, MOMENTUM = DIMENSIONS[0], DIMENSIONS[3]


def _dimensions(count):
    extra = [dataclasses.replace(one, name=f"{one.name}_{n}") for n in (1, 2) for one in DIMENSIONS]
    return (DIMENSIONS + extra)[:count]


def _draw_value(dimension, rng):
    if dimension.kind == "choice":
        return rng.choice(dimension.choices)
    return rng.uniform(dimension.low, dimension.high)


def _records(count, dimensions, objective=lambda rng: rng.random()):
    rng = random.Random(1)
    records = []
    for number in range(count):
        values = {one.name: _draw_value(one, rng) for one in dimensions}
        if values.get("optimizer.name") != "sgd":
            values.pop("optimizer.momentum", None)
        status = (COMPLETED, COMPLETED, STOPPED, FAILED)[number % 4]
        value = objective(rng) if status != FAILED else None
        records.append(TrialRecord(f"{number:04}", values, status, value))
    return records


def _texts(figure):
    """Every visible text, and its box in pixels."""
    FigureCanvasAgg(figure).draw()
    outside = {
        id(label)
        for axes in figure.axes
        for label in axes.get_yticklabels()
        if not axes.get_ylim()[0] <= label.get_position()[1] <= axes.get_ylim()[1]
    }
    for text in figure.findobj(matplotlib.text.Text):
        if text.get_text().strip() and text.get_visible() and id(text) not in outside:
            yield text, text.get_window_extent()


def _is_clear(one, box, other, second):
    """Whether two texts do not overlap. Texts rotated by 45 degrees may be side by side."""
    if one.get_rotation() and other.get_rotation() and abs(box.y1 - second.y1) < 1:
        return (
            abs(box.x1 - second.x1) * math.sin(math.pi / 4) >= one.get_fontsize() * 100 / 72 * 0.8
        )
    overlap = matplotlib.transforms.Bbox.intersection(box, second)
    return overlap is None or min(overlap.width, overlap.height) < 1


@pytest.mark.parametrize(
    "draw, num_dimensions, num_trials",
    [
        (over_trials.draw, 1, 1),
        (over_trials.draw, 1, 500),
        (parallel.draw, 1, 1),
        (parallel.draw, 20, 40),
        (slices.draw, 1, 1),
        (slices.draw, 8, 40),
    ],
)
def test_no_texts_overlap(draw, num_dimensions, num_trials):
    dimensions = _dimensions(num_dimensions)
    with plot_style():
        figure = draw(Sweep(ACCURACY, _records(num_trials, dimensions), dimensions))
        texts = list(_texts(figure))
    assert len(texts) > 3
    for one, other in itertools.combinations(texts, 2):
        assert _is_clear(*one, *other), (one[0].get_text(), other[0].get_text())


def _failed(count):
    return [TrialRecord(f"{number:04}", {RATE.name: 0.01}, FAILED) for number in range(count)]


def _with_objective(objective):
    return _records(12, [RATE, MOMENTUM], objective)


@pytest.mark.parametrize(
    "objective, records",
    [
        (LOSS, _failed(1)),
        (ACCURACY, _failed(12)),
        (ACCURACY, _with_objective(lambda _: 0.5)),
        (LOSS, _with_objective(lambda _: math.nan)),
        (LOSS, _with_objective(lambda rng: 10 ** rng.uniform(-3, 30))),
        (LOSS, _with_objective(lambda rng: rng.uniform(-1, 1))),
        (ACCURACY, [TrialRecord("0000", {}, COMPLETED, 0.5)]),
        (ACCURACY, [TrialRecord("0000", {RATE.name: "odd", MOMENTUM.name: None}, STOPPED, 0.5)]),
    ],
)
def test_there_are_plots_for_any_result_of_the_trials(objective, records, tmp_path):
    files = write_plots(tmp_path, objective, records, [RATE, MOMENTUM])
    assert [file.name for file in files] == NAMES
    for file in files:
        assert file.read_bytes().startswith(b"\x89PNG") and file.stat().st_size > 5_000
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES


def test_there_are_no_plots_before_a_trial_has_ended(tmp_path):
    running = TrialRecord("0000", {RATE.name: 0.1}, RUNNING, 0.5)
    assert write_plots(tmp_path, ACCURACY, [], [RATE]) == []
    assert write_plots(tmp_path, ACCURACY, [running], [RATE]) == []


def test_plots_do_not_change_the_users_matplotlib_settings(tmp_path):
    had_pyplot = "matplotlib.pyplot" in sys.modules  # Imported by another test.
    with matplotlib.rc_context({"text.usetex": True, "savefig.dpi": 7}):
        assert write_plots(tmp_path, ACCURACY, _records(2, [RATE]), [RATE])
        assert matplotlib.rcParams["text.usetex"] and matplotlib.rcParams["savefig.dpi"] == 7
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def test_without_matplotlib_a_warning_says_how_to_install_it(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # Python then treats it as not installed.
    assert write_plots(tmp_path, ACCURACY, _records(3, [RATE]), [RATE]) == []
    assert "pip install 'muster[tune]'" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_the_best_so_far_is_a_step_line_of_completed_trials():
    objectives = [0.5, 0.9, 0.4, 0.7, 0.8]
    statuses = [COMPLETED, STOPPED, COMPLETED, COMPLETED, COMPLETED]
    records = [
        TrialRecord(f"{number:04}", {}, status, value)
        for number, (status, value) in enumerate(zip(statuses, objectives, strict=True))
    ]
    for objective, heights in ((ACCURACY, [0.5, 0.5, 0.7, 0.8, 0.8]), (LOSS, [0.5] + [0.4] * 4)):
        with plot_style():
            line = over_trials.draw(Sweep(objective, records, [])).axes[0].lines[0]
        assert list(line.get_ydata()) == heights
        assert list(line.get_xdata()) == [0, 2, 3, 4, 4]


def test_a_log_axis_is_linear_in_the_logarithm_and_choices_are_evenly_spaced():
    axis = Axis.of_dimension(RATE)
    assert [axis.position(value) for value in (1e-5, 1e-3, 0.1)] == pytest.approx([0, 0.5, 1])
    assert [axis.position(value) for value in (0.0, -1.0, math.nan, "x", None)] == [None] * 5
    choices = Axis.of_dimension(choice((128, 64), "adam", None, 3, True))
    positions = [choices.position(value) for value in ([128, 64], "adam", None, 3.0, "true", "sgd")]
    assert positions == [0, 0.25, 0.5, 0.75, 1, None]
    near = Axis.of_dimension(choice(0.10001, 0.10002))
    assert [near.position(0.10001), near.position(0.10002)] == [0, 1]


def test_an_axis_of_integers_has_only_integer_ticks():
    ticks = Axis(3, 5).ticks(0.1)
    assert ticks == {0.0: "3", 1.0: "5", 0.5: "4"}


def test_losses_of_different_magnitudes_have_a_log_axis():
    assert Axis.of_objective(LOSS, [0.1, 1e6]).log
    assert not Axis.of_objective(LOSS, [0.1, 1.0]).log
    assert not Axis.of_objective(LOSS, [0.0, 1e6]).log
    assert not Axis.of_objective(ACCURACY, [0.001, 0.99]).log
