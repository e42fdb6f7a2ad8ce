"""Charts as SVG text, drawn by ourselves: lines over time and bars by name, with titles, axes and a legend.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; the same policy has the same colour in all
charts of one call.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import floor, isfinite, log10

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#000000", "#8C564B", "#B5A800")
_WIDTH, _HEIGHT = 820, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 190, 56, 62

Line = Sequence[tuple[float, float]]
"""Points, in order of x."""


def lines(title: str, x: str, y: str, series: Mapping[str, Line]) -> str:
    """A chart of lines: `x` and `y` name the axes with their units."""
    points = [point for line in series.values() for point in line if isfinite(point[1])]
    left, right = min((p[0] for p in points), default=0.0), max((p[0] for p in points), default=1.0)
    top = _ceiling(max((p[1] for p in points), default=1.0))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(point: tuple[float, float]) -> str:
        across = (point[0] - left) / (right - left or 1.0)
        return f"{_LEFT + across * width:.1f},{_TOP + height * (1 - min(point[1], top) / top):.1f}"

    parts = _frame(title, x, y, top)
    for step in range(6):
        value = left + (right - left) * step / 5
        at = _LEFT + width * step / 5
        parts.append(f'<text x="{at:.1f}" y="{_TOP + height + 20}" text-anchor="middle">{_number(value)}</text>')
    for index, (name, line) in enumerate(series.items()):
        shown = " ".join(place(point) for point in line if isfinite(point[1]))
        parts.append(f'<polyline points="{shown}" fill="none" stroke="{_colour(index)}" stroke-width="2"/>')
        parts += _key(index, name)
    return _page(parts)


def bars(title: str, y: str, groups: Sequence[str], series: Mapping[str, Sequence[float]]) -> str:
    """A chart of bars: for each group one bar of each series. What is infinite reaches the top and says so."""
    finite = [value for values in series.values() for value in values if isfinite(value)]
    top = _ceiling(max(finite, default=1.0))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    parts = _frame(title, "", y, top)
    slot = width / max(1, len(groups))
    bar = slot * 0.84 / max(1, len(series))
    for number, group in enumerate(groups):
        middle = _LEFT + slot * (number + 0.5)
        parts.append(f'<text x="{middle:.1f}" y="{_TOP + height + 20}" text-anchor="middle">{escape(group)}</text>')
    for index, (name, values) in enumerate(series.items()):
        for number, value in enumerate(values):
            part = min(value, top) / top
            at = _LEFT + slot * (number + 0.08) + bar * index
            parts.append(
                f'<rect x="{at:.1f}" y="{_TOP + height * (1 - part):.1f}" width="{bar * 0.9:.1f}" height="{height * part:.1f}" '
                f'fill="{_colour(index)}"><title>{escape(name)}: {_number(value)}</title></rect>')  # fmt: skip
            label = _number(value) if isfinite(value) else "never"
            parts.append(
                f'<text x="{at + bar * 0.45:.1f}" y="{_TOP + height * (1 - part) - 4:.1f}" text-anchor="middle" font-size="10">'
                f"{label}</text>")  # fmt: skip
        parts += _key(index, name)
    return _page(parts)


def _frame(title: str, x: str, y: str, top: float) -> list[str]:
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    parts = [
        f'<text x="{_LEFT}" y="28" font-size="17" font-weight="bold">{escape(title)}</text>',
        f'<text x="{_LEFT + width / 2}" y="{_HEIGHT - 16}" text-anchor="middle">{escape(x)}</text>',
        f'<text transform="translate(20,{_TOP + height / 2}) rotate(-90)" text-anchor="middle">{escape(y)}</text>',
    ]
    for step in range(6):
        at = _TOP + height * (1 - step / 5)
        parts.append(f'<line x1="{_LEFT}" x2="{_LEFT + width}" y1="{at:.1f}" y2="{at:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_number(top * step / 5)}</text>')
    parts.append(f'<line x1="{_LEFT}" x2="{_LEFT}" y1="{_TOP}" y2="{_TOP + height}" stroke="#333"/>')
    return parts


def _key(index: int, name: str) -> list[str]:
    across, down = _WIDTH - _RIGHT + 22, _TOP + 12 + 22 * index
    return [
        f'<rect x="{across}" y="{down - 9}" width="14" height="10" fill="{_colour(index)}"/>',
        f'<text x="{across + 22}" y="{down}">{escape(name)}</text>',
    ]


def _page(parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#222">'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>')  # fmt: skip
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def _colour(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def _ceiling(value: float) -> float:
    """The next round number: an axis ends at 1, 2, 2.5, 4, 5 or 10 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1.0, 2.0, 2.5, 4.0, 5.0, 10.0) if value <= step * power * (1 + 1e-9))


def _number(value: float) -> str:
    if not isfinite(value):
        return "∞"
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
