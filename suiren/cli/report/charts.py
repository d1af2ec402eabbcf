"""Charts as inline SVG: lines, a confusion matrix, a divided bar, circles in a square.

Colours are classes of the page's style sheet, so charts follow light and dark. Every mark has a
<title>, which browsers show under the pointer.
"""

import html
import math
from collections.abc import Sequence

import numpy as np

WIDTH, HEIGHT = 480, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 40
MOST_NUMBERED = 25  # classes; beyond it counts in the cells would be too small to read

Series = tuple[str, str, Sequence[float], Sequence[float]]  # label, CSS class, x, y


def escape(text: object) -> str:
    """`text` for HTML."""
    return html.escape(str(text), quote=True)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about `count` of them."""
    span = high - low
    if not span > 0:
        return [low]
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((1, 2, 2.5, 5, 10), key=lambda m: abs(m * power - raw)) * power
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """`value` as short as it can be read."""
    if value == 0 or 0.0001 <= abs(value) < 100_000:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def lines(
    series: Sequence[Series],
    x_label: str,
    name: str,
    low: float | None = None,
    high: float | None = None,
    whole: bool = False,
) -> str:
    """Lines over a common axis.

    Args:
        series: label, class, x and y of each.
        x_label: what x is; name: what the chart shows, for those who cannot see it.
        low, high: the least range of y.
        whole: x counts something.
    """
    xs = [x for _, _, some, _ in series for x in some]
    ys = [y for *_, some in series for y in some if math.isfinite(y)]
    left, right = min(xs), max(xs)
    if left == right:
        left, right = left - 1, right + 1
    bottom = min(ys) if low is None else min(low, *ys)
    top = max(ys) if high is None else max(high, *ys)
    if top - bottom < 1e-12:
        bottom, top = bottom - 0.5 * abs(bottom) - 1e-3, top + 0.5 * abs(top) + 1e-3
    elif high is None:
        top += 0.05 * (top - bottom)

    def across(x: float) -> float:
        return LEFT + (x - left) / (right - left) * (WIDTH - LEFT - RIGHT)

    def up(y: float) -> float:
        return HEIGHT - BOTTOM - (y - bottom) / (top - bottom) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for y in ticks(bottom, top):
        at = up(y)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" '
                     f'y2="{at:.1f}"/><text class="tick" x="{LEFT - 8}" y="{at + 4:.1f}" '
                     f'text-anchor="end">{number(y)}</text>')  # fmt: skip
    for x in ticks(left, right, 6):
        if whole and x != int(x):
            continue
        parts.append(f'<text class="tick" x="{across(x):.1f}" y="{HEIGHT - BOTTOM + 18}" '
                     f'text-anchor="middle">{number(x)}</text>')  # fmt: skip
    parts.append(f'<text class="axis" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" '
                 f'text-anchor="middle">{escape(x_label)}</text>')  # fmt: skip
    for label, kind, some_x, some_y in series:
        known = [(x, y) for x, y in zip(some_x, some_y, strict=True) if math.isfinite(y)]
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in known)
        parts.append(f'<polyline class="line {kind}" points="{path}"/>')
        if len(known) <= 40:
            parts += [
                f'<circle class="dot {kind}" cx="{across(x):.1f}" cy="{up(y):.1f}" r="3">'
                f"<title>{escape(label)}: {number(y)} ({escape(x_label)} {number(x)})</title>"
                "</circle>"
                for x, y in known
            ]
    return _svg(WIDTH, HEIGHT, "".join(parts), name)


def matrix(counts: np.ndarray, classes: list[str], true: str, predicted: str, name: str) -> str:
    """A confusion matrix (K, K): rows are true classes, columns predicted ones."""
    size = len(classes)
    cell = max(7, min(44, 760 // size))
    letters = max(len(name) for name in classes)
    named = size <= 60
    letter = 7.5 if all(ord(c) < 0x2E80 for name in classes for c in name) else 13
    left = (28 + min(150, letter * letters + 8)) if named else 28
    upright = named and letter * letters > cell
    below = (min(150, letter * letters + 8) if upright else 22) if named else 8
    side = cell * size
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    parts = []
    for (row, column), count in np.ndenumerate(counts):
        x, y, share = left + column * cell, 8 + row * cell, shares[row, column]
        if count == 0 and size > MOST_NUMBERED:
            continue
        tip = f"{classes[row]} → {classes[column]}: {count} ({100 * share:.1f}%)"
        # Small shares are what one looks for: the root makes them visible.
        fill = "right" if row == column else "wrong"
        parts.append(f'<rect class="cell {fill}" x="{x + 1}" y="{y + 1}" width="{cell - 2}" '
                     f'height="{cell - 2}" rx="{min(4, cell // 6)}" '
                     f'fill-opacity="{math.sqrt(share) * 0.92:.3f}">'
                     f"<title>{escape(tip)}</title></rect>")  # fmt: skip
        if count and size <= MOST_NUMBERED:
            kind = "count on" if share > 0.35 else "count"
            small = min(13, cell * 0.42 if count < 1000 else cell * 0.34)
            parts.append(f'<text class="{kind}" x="{x + cell / 2}" y="{y + cell / 2 + 4}" '
                         f'font-size="{small:.1f}" text-anchor="middle">{count}</text>')
    if named:
        small = max(6.0, min(13.0, cell * 0.7))
        for i, full in enumerate(classes):
            label = full if len(full) <= 18 else full[:17] + "…"
            middle = 8 + i * cell + cell / 2 + 4
            parts.append(f'<text class="tick" x="{left - 8}" y="{middle}" font-size="{small:.1f}" '
                         f'text-anchor="end">{escape(label)}</text>')  # fmt: skip
            x, y = left + i * cell + cell / 2, 8 + side + 16
            turn = f' transform="rotate(-90 {x:.1f} {y - 6})" dy="4"' if upright else ""
            anchor = "end" if upright else "middle"
            parts.append(f'<text class="tick" x="{x:.1f}" y="{y - (6 if upright else 0)}"{turn} '
                         f'font-size="{small:.1f}" text-anchor="{anchor}">{escape(label)}</text>')
    height = 8 + side + below + 22
    middle = 8 + side / 2
    parts.append(f'<text class="axis" x="14" y="{middle}" text-anchor="middle" '
                 f'transform="rotate(-90 14 {middle})">{escape(true)}</text>'
                 f'<text class="axis" x="{left + side / 2}" y="{height - 5}" '
                 f'text-anchor="middle">{escape(predicted)}</text>')  # fmt: skip
    return _svg(int(left + side + 8), int(height), "".join(parts), name, natural=True)


def divided(parts: list[tuple[str, str, float]], name: str) -> str:
    """One bar divided in proportion: label, class and size of each part."""
    total = sum(size for *_, size in parts) or 1.0
    drawn, x = [], 0.0
    for label, kind, size in parts:
        width = 1000 * size / total
        if width > 0:
            drawn.append(f'<rect class="part {kind}" x="{x:.2f}" y="0" width="{width:.2f}" '
                         f'height="26"><title>{escape(label)}: {100 * size / total:.1f}%</title>'
                         "</rect>")  # fmt: skip
        x += width
    return (
        f'<svg class="divided" viewBox="0 0 1000 26" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(name)}">{"".join(drawn)}</svg>'
    )


def circles(places: np.ndarray, radii: np.ndarray, name: str, unit: str) -> str:
    """Circles (P, 2) in the unit square, each with a radius (P,) in the same units."""
    size = 400
    parts = [f'<rect class="frame" x="0.5" y="0.5" width="{size - 1}" height="{size - 1}"/>']
    for index, ((x, y), radius) in enumerate(zip(places, radii, strict=True)):
        if not math.isfinite(x + y + radius):
            continue
        tip = f"<title>{index}: {100 * radius:.2f}% {escape(unit)}</title>"
        parts.append(f'<circle class="halo" cx="{x * size:.1f}" cy="{y * size:.1f}" '
                     f'r="{radius * size:.2f}">{tip}</circle><circle class="core" '
                     f'cx="{x * size:.1f}" cy="{y * size:.1f}" r="2">{tip}</circle>')  # fmt: skip
    return _svg(size, size, "".join(parts), name, natural=True)


def _svg(width: int, height: int, inside: str, name: str, natural: bool = False) -> str:
    style = f' style="max-width:{width}px"' if natural else ""
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(name)}"{style}>{inside}</svg>'
    )
