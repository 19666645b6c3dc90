"""How is a chart drawn as SVG?

`lines` draws curves, `scatter` predictions against the truth, `strip` a bar. Colours and dashes are
classes of the page's style sheet, so that they follow light and dark. A chart's text has the size that
the style sheet gives it where the chart is 300 pixels wide.
"""

import dataclasses
import html
import json
from collections.abc import Sequence

from trainer.reporting.report.scales import Axis, axis, short, with_room

WIDTH, HEIGHT = 300, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 8, 24
_MAX_POINTS = 300


@dataclasses.dataclass(frozen=True)
class Curve:
    """`color` is the number of a colour, `dash` that of a dash pattern."""

    label: str
    points: Sequence[tuple[float, float]]
    color: int = 0
    dash: int = 0


def lines(curves: Sequence[Curve], title: str, x_unit: str = "") -> str:
    """Curves by step, or by seconds or bytes, units "s" and "B"; a curve of one point is a dot."""
    curves = [dataclasses.replace(one, points=_thinned(one.points)) for one in curves]
    xs = [x for one in curves for x, _ in one.points]
    ys = [y for one in curves for _, y in one.points]
    from_zero = [] if x_unit == "B" else [min(0.0, *xs)]  # Ways to agree differ by powers of ten.
    x_axis = axis([*from_zero, *xs], _LEFT, WIDTH - _RIGHT, may_be_log=not from_zero)
    y_axis = with_room(axis(ys, HEIGHT - _BOTTOM, _TOP, may_be_log="loss" in title))
    marks = "".join(_mark(one, x_axis, y_axis) for one in curves)
    data = [
        {
            "n": one.label,
            "c": one.color,
            "p": [
                [round(x_axis.at(x), 1), round(y_axis.at(y), 1), shown(x, x_unit), short_value(y)]
                for x, y in one.points
            ],
        }
        for one in curves
    ]
    described = "; ".join(
        f"{one.label} from {short_value(one.points[0][1])} to {short_value(one.points[-1][1])}"
        for one in curves
    )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" '
        f'aria-label="{_text(f"{title}: {described}")}" '
        f"data-curves='{_text(json.dumps(data, separators=(',', ':')))}'>"
        f"{_grid(x_axis, y_axis, x_unit)}{marks}"
        f'<line class="cursor" x1="-9" x2="-9" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/></svg>'
    )


def scatter(pairs: Sequence[Sequence[float]], title: str) -> str:
    """A dot for each pair (truth, prediction), and the line on which they would be equal."""
    values = [value for pair in pairs for value in pair]
    x_axis = with_room(axis(values, _LEFT, WIDTH - _RIGHT), 0.03)
    y_axis = with_room(axis(values, HEIGHT - _BOTTOM, _TOP), 0.03)
    low, high = x_axis.low, x_axis.high
    dots = "".join(
        f'<circle cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}" r="2.2"/>' for x, y in pairs
    )
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{_text(title)}">'
        f"{_grid(x_axis, y_axis, '')}"
        f'<path class="equal" d="M{x_axis.at(low):.1f} {y_axis.at(low):.1f}'
        f'L{x_axis.at(high):.1f} {y_axis.at(high):.1f}"/><g class="dots">{dots}</g></svg>'
    )


@dataclasses.dataclass(frozen=True)
class Piece:
    """A rectangle of a strip, in parts of its width and height."""

    start: float
    end: float
    kind: str
    top: float = 0.0
    bottom: float = 1.0


def strip(pieces: Sequence[Piece], label: str, marks: Sequence[tuple[float, str, str]] = ()) -> str:
    """A bar of coloured pieces, with marks (place, class, text)."""
    bars = "".join(
        f'<rect x="{x:.1f}" width="{max(end - x, 0):.1f}" y="{one.top * 20:.2f}" '
        f'height="{(one.bottom - one.top) * 20:.2f}" class="{one.kind}"/>'
        for one in pieces
        for x, end in [(round(one.start * 1000, 1), round(one.end * 1000, 1))]  # Without gaps.
    )
    shown_marks = "".join(
        f'<rect x="{min(place * 1000, 996):.1f}" width="4" y="-4" height="28" class="{kind}">'
        f"<title>{_text(text)}</title></rect>"
        for place, kind, text in marks
    )
    return (
        f'<svg class="strip" viewBox="0 -4 1000 28" preserveAspectRatio="none" role="img" '
        f'aria-label="{_text(label)}">{bars}{shown_marks}</svg>'
    )


def shown(value: float, unit: str) -> str:
    """A place on the x axis: a step, or seconds as a duration."""
    if unit == "B":
        return f"{short(value)}B"
    if unit != "s":
        return f"{value:,.0f}"
    factor, after = _scale(value, unit)
    return f"{value / factor:.3g}{after}"


def _scale(value: float, unit: str) -> tuple[int, str]:
    """By what places up to `value` are divided to be shown, and what follows them."""
    if unit != "s":
        return 1, unit
    if value < 90:
        return 1, " s"
    return (60, " min") if value < 5400 else (3600, " h")


def short_value(value: float) -> str:
    """A measured number in a few characters."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _grid(x_axis: Axis, y_axis: Axis, x_unit: str) -> str:
    parts = []
    for value in y_axis.ticks(4):
        y = y_axis.at(value)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(
            f'<text class="tick y" x="{_LEFT - 6}" y="{y + 3.8:.1f}">{short(value)}</text>'
        )
    factor, unit = _scale(x_axis.high, x_unit)
    scaled = dataclasses.replace(x_axis, low=x_axis.low / factor, high=x_axis.high / factor)
    ticks = scaled.ticks(4)
    for index, value in enumerate(ticks):
        last = unit if index == len(ticks) - 1 else ""
        x = scaled.at(value)
        end = " end" if x > WIDTH - 34 else ""
        place = f'x="{min(x, WIDTH - 2):.1f}" y="{HEIGHT - 8}"'
        parts.append(f'<text class="tick x{end}" {place}>{short(value)}{last}</text>')
    return "".join(parts)


def _mark(curve: Curve, x_axis: Axis, y_axis: Axis) -> str:
    at = [(x_axis.at(x), y_axis.at(y)) for x, y in curve.points]
    kind = f"c{curve.color % 10} d{curve.dash % 3}"
    if len(at) == 1:
        return f'<circle class="dot {kind}" cx="{at[0][0]:.1f}" cy="{at[0][1]:.1f}" r="3"/>'
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
    return f'<path class="curve {kind}" d="M{path}"/>'


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `_MAX_POINTS` of them, the last one included."""
    every = -(-len(points) // _MAX_POINTS)
    kept = list(points[::every])
    return kept if kept[-1] == points[-1] else [*kept, points[-1]]


def _text(text: str) -> str:
    return html.escape(text, quote=True)
