"""Does a run whose worker is killed end with the bits of one that is left alone?

    python -m benchmarks.killed_worker RECIPE docs/killed-worker.svg

It trains a recipe three times: on one process, on two workers, and on two workers of which one is killed
half way. It writes a picture of what happened, second by second, and fails where the weights differ.
"""

import dataclasses
import json
import os
import pathlib
import signal
import sys
import tempfile
import time
from collections.abc import Iterator

from benchmarks.peers.launched import Cluster

_EPOCHS, _STEPS_PER_EPOCH = 30, 24  # Of 1,497 digits, in batches of 64.
_STEP = r" train +\| step +(\d+)"
_WIDTH, _LEFT, _RIGHT, _LANE = 880, 222, 660, 74
_PLAY_S, _REST_S = 8.0, 6.0  # Of the animation.
_ACCENT, _LOST, _TEXT, _DIM = "#3fb950", "#f85149", "#e6edf3", "#9198a1"


@dataclasses.dataclass(frozen=True)
class Part:
    """An unbroken piece of training: its steps, and its seconds since the run's first step."""

    first: int
    last: int
    begin_s: float
    end_s: float


@dataclasses.dataclass(frozen=True)
class Told:
    """One run: its title, its parts, how many workers, and the sha256 of its final weights."""

    title: str
    parts: tuple[Part, ...]
    workers: int
    sha256: str


def main() -> None:
    _, recipe, picture = sys.argv
    with tempfile.TemporaryDirectory() as folder:
        runs = [
            _run("one process", recipe, f"{folder}/one", workers=1),
            _run("two workers", recipe, f"{folder}/two", workers=2),
            _run("two workers, one killed", recipe, f"{folder}/killed", workers=2, kills=True),
        ]
    if len({run.sha256 for run in runs}) > 1:
        sys.exit(f"the weights differ: {[run.sha256 for run in runs]}")
    pathlib.Path(picture).write_text(svg(runs), encoding="utf-8")


def _run(title: str, recipe: str, workdir: str, workers: int, kills: bool = False) -> Told:
    launch = ["launch", f"--workers={workers}", "--"] if workers > 1 else []
    flags = [f"--config={recipe}", f"--config.train.epochs={_EPOCHS}", f"--workdir={workdir}"]
    with Cluster([sys.executable, "-m", "trainer", *launch, *flags]) as cluster:
        first = int(cluster.await_line(_STEP)[1])
        began = time.perf_counter()
        parts = tuple(_until_the_end(cluster, first, began, kills))
        summary = json.loads(pathlib.Path(f"{workdir}/summary.json").read_text(encoding="utf-8"))
    return Told(title, parts, workers, summary["weights_sha256"])


def _until_the_end(cluster: Cluster, first: int, began: float, kills: bool) -> Iterator[Part]:
    begin_s = 0.0
    if kills:
        half = _EPOCHS // 2 * _STEPS_PER_EPOCH
        last = int(cluster.await_line(rf" train +\| step +({half})")[1])
        os.kill(cluster.pid_of("worker", 1), signal.SIGKILL)
        yield Part(first, last, begin_s, time.perf_counter() - began)
        first = int(cluster.await_line(r"resuming at step (\d+)")[1])
        begin_s = time.perf_counter() - began
    last = int(cluster.await_line(r" done \| (\d+) steps")[1])
    yield Part(first, last, begin_s, time.perf_counter() - began)


def svg(runs: list[Told]) -> str:
    """The picture: complete where nothing moves, as under `prefers-reduced-motion`."""
    longest = max(run.parts[-1].end_s for run in runs)
    height = 96 + _LANE * len(runs)
    shapes = [line for place, run in enumerate(runs) for line in _lane(run, place, longest)]
    title = "A worker is killed, the run resumes, and the weights have the same sha256"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
            f'aria-label="{title}">',
            f"<title>{title}</title>",
            f"<style>{_style()}</style>",
            f'<rect width="{_WIDTH}" height="{height}" rx="10" fill="#0d1117"/>',
            f'<text x="24" y="36" class="h">{title}</text>',
            *shapes,
            f'<text x="{_LEFT}" y="{height - 18}" class="d">0 s: first step</text>',
            f'<text x="{_RIGHT}" y="{height - 18}" class="d" text-anchor="end">{longest:.1f} s</text>',
            f'<text x="{_RIGHT + 24}" y="{height - 18}" class="d">weights_sha256</text>',
            "</svg>\n",
        ]
    )


def _style() -> str:
    """Bars grow as the runs did; then the picture rests, and starts again."""
    return f"""
text{{font:13px ui-monospace,Menlo,Consolas,monospace;fill:{_TEXT}}}
.h{{font-weight:600;font-size:15px}} .d{{fill:{_DIM};font-size:12px}}
.bar{{fill:{_ACCENT};transform-box:fill-box;transform-origin:left}}
.x{{fill:{_LOST};font-weight:700}} .sha{{fill:{_ACCENT}}}
@media (prefers-reduced-motion:no-preference){{
.bar,.x,.sha{{animation-duration:{_PLAY_S + _REST_S:g}s;animation-iteration-count:infinite;
animation-timing-function:linear}}}}"""


def _lane(run: Told, place: int, longest: float) -> Iterator[str]:
    top = 66 + _LANE * place
    yield f'<text x="24" y="{top + 16}">{run.title}</text>'
    note = f"step {run.parts[-1].last}"
    if len(run.parts) > 1:
        lost, resumed = run.parts[0], run.parts[1]
        note = f"kill -9 at step {lost.last}, resumed from step {resumed.first}"
        x = _x(lost.end_s, longest)
        yield _shown(f"x{place}", lost.end_s, longest)
        yield f'<text x="{x + 4:.1f}" y="{top + 38}" class="x" style="animation-name:x{place}">✕</text>'
    yield f'<text x="{_LEFT}" y="{top + 54}" class="d">{note}</text>'
    for worker in range(run.workers):
        for index, part in enumerate(run.parts):
            yield from _bar(f"b{place}{worker}{index}", part, top + 4 + 22 * worker, longest)
    end_s = run.parts[-1].end_s
    yield _shown(f"s{place}", end_s, longest)
    sha = f"{run.sha256[:16]}…"
    place_of = f'x="{_RIGHT + 24}" y="{top + 16}"'
    yield f'<text {place_of} class="sha" style="animation-name:s{place}">{sha}</text>'


def _bar(name: str, part: Part, y: int, longest: float) -> Iterator[str]:
    x, width = _x(part.begin_s, longest), (part.end_s - part.begin_s) / longest * (_RIGHT - _LEFT)
    begin, end = _percent(part.begin_s, longest), _percent(part.end_s, longest)
    yield (
        f"<style>@keyframes {name}{{0%,{begin}%{{transform:scaleX(0)}}"
        f"{end}%,100%{{transform:scaleX(1)}}}}</style>"
    )
    yield (
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="14" rx="3" class="bar" '
        f'style="animation-name:{name}"/>'
    )


def _shown(name: str, at_s: float, longest: float) -> str:
    """Keyframes of what appears at this second."""
    at = _percent(at_s, longest)
    return f"<style>@keyframes {name}{{0%,{at}%{{opacity:0}}{at + 0.1:.1f}%,100%{{opacity:1}}}}</style>"


def _percent(at_s: float, longest: float) -> float:
    """Of the animation, which shows the end for a while. Never quite 0, where it would not begin."""
    return round(max(0.1, at_s / longest * 100 * _PLAY_S / (_PLAY_S + _REST_S)), 1)


def _x(at_s: float, longest: float) -> float:
    return _LEFT + at_s / longest * (_RIGHT - _LEFT)


if __name__ == "__main__":
    main()
