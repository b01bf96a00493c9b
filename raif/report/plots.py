"""Drawings as SVG text, without a library: pure functions of figures.

Colours are CSS classes, so that they follow the reader's light or dark theme; shape, place or a written figure always
says the same thing as the colour. Every label is escaped here, whoever wrote it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from raif.report.text import plain

WIDTH = 960
_LABELS = 210
_NOTES = 190


@dataclass(frozen=True)
class Bar:
    """A figure with its interval, and what to write beside it."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    note: str = ""


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _text(x: float, y: float, content: str, style: str = "", anchor: str = "start") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(
        x, y, anchor, style, plain(content)
    )


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(x1, y1, x2, y2, style)


def _rect(x: float, y: float, width: float, height: float, style: str, title: str = "") -> Markup:
    inside = Markup("<title>{}</title>").format(plain(title)) if title else ""
    return Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2" class="{}">{}</rect>').format(
        x, y, max(0.0, width), max(0.0, height), style, inside
    )


def _svg(height: float, title: str, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, height, plain(title), Markup("").join(parts)
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, some ``about`` of them, steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def intervals(bars: Sequence[Bar], title: str, *, reference: float | None = 0.5, unit: str = "%") -> Markup:
    """Shares in [0, 1], one a row: a dot with its interval, against a dashed reference line."""
    left, right, row, top = _LABELS, WIDTH - _NOTES, 30, 8
    bottom = top + row * len(bars)

    def x(value: float) -> float:
        return left + (right - left) * min(1.0, max(0.0, value))

    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_line(x(tick), top, x(tick), bottom, "grid"))
        parts.append(_text(x(tick), bottom + 18, f"{100 * tick:.0f}\u00a0{unit}", "tick", "middle"))
    if reference is not None:
        parts.append(_line(x(reference), top - 4, x(reference), bottom + 4, "reference"))
    for index, bar in enumerate(bars):
        y = top + row * (index + 0.5)
        parts.append(_text(left - 14, y + 4, _short(bar.label, 26), "label", "end"))
        if bar.low is not None and bar.high is not None:
            parts.append(_line(x(bar.low), y, x(bar.high), y, "whisker"))
            parts += [_line(x(end), y - 5, x(end), y + 5, "whisker") for end in (bar.low, bar.high)]
        parts.append(Markup('<circle cx="{:.1f}" cy="{:.1f}" r="5" class="dot"/>').format(x(bar.value), y))
        parts.append(_text(right + 14, y + 4, bar.note or f"{100 * bar.value:.1f}\u00a0{unit}", "note"))
    return _svg(bottom + 26, title, parts)


def panels(groups: Mapping[str, Sequence[Bar]], title: str) -> Markup:
    """Shares in [0, 1] as small groups of columns side by side, the figure written above each column."""
    gap, top, height = 40, 48, 160
    width = (WIDTH - gap * (len(groups) - 1)) / max(1, len(groups))
    parts = []
    for index, (name, bars) in enumerate(groups.items()):
        left = index * (width + gap)
        parts.append(_text(left, 16, _short(name, 34), "heading"))
        slot = width / max(1, len(bars))
        for tick in (0, 0.5, 1):
            y = top + height * (1 - tick)
            parts.append(_line(left, y, left + width, y, "grid" if tick else "axis"))
        for place, bar in enumerate(bars):
            x, tall = left + slot * place + slot * 0.2, height * min(1.0, max(0.0, bar.value))
            style = "column first" if place == 0 else "column last" if place == len(bars) - 1 else "column"
            parts.append(
                _rect(x, top + height - tall, slot * 0.6, max(tall, 1.5), style, f"{bar.label}: {bar.value:.3f}")
            )
            above = tall
            if bar.low is not None and bar.high is not None:
                middle = x + slot * 0.3
                parts.append(
                    _line(middle, top + height * (1 - bar.low), middle, top + height * (1 - bar.high), "error")
                )
                above = max(tall, height * bar.high)
            y = top + height - above - 6
            parts.append(_text(x + slot * 0.3, y, f"{100 * bar.value:.1f}\u00a0%", "value", "middle"))
            parts.append(_text(x + slot * 0.3, top + height + 18, _short(bar.label, 12), "tick", "middle"))
    return _svg(top + height + 28, title, parts)


def stack(parts_: Mapping[str, int], title: str) -> Markup:
    """Counts that make up a whole: one bar, hatched in turn, with every part named and counted below it."""
    total = sum(parts_.values()) or 1
    found = {name: count for name, count in parts_.items() if count}
    parts, x = [], 0.0
    for index, (name, count) in enumerate(found.items()):
        width = WIDTH * count / total
        parts.append(_rect(x, 0, max(width - 2, 1), 30, f"part p{index % 6}", f"{name}: {count:,}"))
        if width > 46:
            parts.append(_text(x + 10, 20, f"{100 * count / total:.0f}\u00a0%", f"inside p{index % 6}"))
        x += width
    x, y = 0.0, 52.0
    for index, (name, count) in enumerate(found.items()):
        label = f"{_short(name, 28)} {count:,}"
        width = 24 + 7.4 * len(label)
        if x + width > WIDTH:
            x, y = 0.0, y + 24
        parts.append(_rect(x, y - 11, 13, 13, f"part p{index % 6}"))
        parts.append(_text(x + 20, y, label, "tick"))
        x += width + 14
    return _svg(y + 10, title, parts)


def histogram(values: Sequence[float], title: str, *, bins: int = 20, x_label: str = "") -> Markup:
    """How values in [0, 1] are spread."""
    counts = counted(values, bins)
    left, right, top, height = 52, WIDTH - 12, 14, 170
    most = max([*counts, 1])
    scale = ticks(0, most, 3)
    parts = []
    for tick in scale:
        y = top + height * (1 - tick / most)
        parts.append(_line(left, y, right, y, "grid" if tick else "axis"))
        parts.append(_text(left - 8, y + 4, f"{tick:,.0f}", "tick", "end"))
    width = (right - left) / bins
    for index, count in enumerate(counts):
        tall = height * count / most
        name = f"{index / bins:.2f}–{(index + 1) / bins:.2f}: {count:,}"
        parts.append(_rect(left + width * index + 1, top + height - tall, width - 2, tall, "column last", name))
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_text(left + (right - left) * tick, top + height + 18, f"{tick:g}", "tick", "middle"))
    parts.append(_text((left + right) / 2, top + height + 38, x_label, "tick", "middle"))
    return _svg(top + height + 46, title, parts)


def counted(values: Sequence[float], bins: int) -> list[int]:
    """How many values in [0, 1] fall into each of ``bins`` equal bins; 1 belongs to the last one."""
    counts = [0] * bins
    for value in values:
        counts[min(bins - 1, max(0, int(value * bins)))] += 1
    return counts


def smoothed(points: Sequence[tuple[float, float]], window: int) -> list[tuple[float, float]]:
    """Each value's mean with its neighbours, ``window`` of them where there are so many."""
    half = window // 2
    found = []
    for index, (x, _) in enumerate(points):
        near = points[max(0, index - half) : index + half + 1]
        found.append((x, sum(y for _, y in near) / len(near)))
    return found


def curve(points: Sequence[tuple[float, float]], title: str, *, x_label: str, y_label: str) -> Markup:
    """A measured curve: thin as logged, thick as a moving mean over a twentieth of it."""
    left, right, top, height = 58, WIDTH - 16, 22, 180
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = min(ys), max(ys)
    pad = (high - low) * 0.08 or abs(high) * 0.1 or 0.1
    low, high = low - pad if low < 0 else max(0.0, low - pad), high + pad
    first, last = min(xs), max(xs)

    def place(point: tuple[float, float]) -> str:
        x = left + (right - left) * ((point[0] - first) / (last - first) if last > first else 0.5)
        y = top + height * (1 - (point[1] - low) / (high - low))
        return f"{x:.1f},{y:.1f}"

    parts = []
    for tick in ticks(low, high, 4):
        y = top + height * (1 - (tick - low) / (high - low))
        parts.append(_line(left, y, right, y, "grid"))
        parts.append(_text(left - 8, y + 4, f"{tick:g}", "tick", "end"))
    for tick in ticks(first, last, 6):
        x = left + (right - left) * ((tick - first) / (last - first) if last > first else 0.5)
        parts.append(_text(x, top + height + 18, f"{tick:,g}", "tick", "middle"))
    step = max(1, len(points) // 2000)  # a page stays a page, however long the training
    drawn = points[::step]
    mean = smoothed(drawn, max(1, len(drawn) // 20))
    if len(points) == 1:
        cx, cy = place(points[0]).split(",")
        parts.append(Markup('<circle cx="{}" cy="{}" r="4" class="dot"/>').format(cx, cy))
    parts.append(Markup('<polyline points="{}" class="raw"/>').format(" ".join(map(place, drawn))))
    parts.append(Markup('<polyline points="{}" class="mean"/>').format(" ".join(map(place, mean))))
    parts.append(_text(left, 12, y_label, "tick"))
    parts.append(_text(right, top + height + 18 + 18, x_label, "tick", "end"))
    return _svg(top + height + 44, title, parts)


def reliability(points: Sequence[tuple[float, float, int]], title: str) -> Markup:
    """Confidence against accuracy, one dot a bin (area by its items), and the diagonal of a calibrated judge."""
    left, right, top, height = 58, 600, 12, 230
    most = max([n for _, _, n in points] or [1])

    def x(value: float) -> float:
        return left + (right - left) * (value - 0.5) * 2

    def y(value: float) -> float:
        return top + height * (1 - value)

    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_line(left, y(tick), right, y(tick), "grid" if tick else "axis"))
        parts.append(_text(left - 8, y(tick) + 4, f"{100 * tick:.0f}\u00a0%", "tick", "end"))
    for tick in (0.5, 0.75, 1):
        parts.append(_text(x(tick), top + height + 18, f"{100 * tick:.0f}\u00a0%", "tick", "middle"))
    parts.append(_line(x(0.5), y(0.5), x(1), y(1), "reference"))
    for confidence, accuracy, n in points:
        radius = 3 + 6 * math.sqrt(n / most)
        parts.append(
            Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{:.1f}" class="dot"><title>{}</title></circle>').format(
                x(confidence), y(accuracy), radius, f"{n:,} items: {confidence:.2f} sure, {accuracy:.2f} right"
            )
        )
    parts.append(_text((left + right) / 2, top + height + 38, "how sure the judge is", "tick", "middle"))
    parts.append(_text(right + 36, y(0.86), "dashed: as sure as it is right", "tick"))
    parts.append(_text(right + 36, y(0.78), "below it: too sure of itself", "tick"))
    parts.append(_text(right + 36, y(0.7), "upright: how often humans agree", "tick"))
    return _svg(top + height + 46, title, parts)
