"""Small plots as SVG, for hovers in an editor and for the HTML page."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

from handlens.report import Histogram
from handlens.words import decibels

_BLUE, _ORANGE, _GREY = "#4d87e6", "#e0862d", "#8a929c"
# A sparkline with more points than this would have several to a pixel.
_POINTS = 400


def image(picture: str, said: str) -> str:
    """A Markdown image with the picture in its address, so that it needs no file.

    ``said`` is its alternative text.
    """
    return f"![{said}](data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()})"


def sparkline(ratios: Sequence[float]) -> str:
    """A line through ratios in dB, with the lowest one marked and both ends of the scale labelled."""
    size = math.ceil(len(ratios) / _POINTS)
    shown = [min(ratios[i : i + size]) for i in range(0, len(ratios), size)]
    low, high = min(shown), max(shown)
    span = high - low or 1.0
    points = [
        (5 + 230 * i / max(len(shown) - 1, 1), 8 + 30 * (high - ratio) / span)
        for i, ratio in enumerate(shown)
    ]
    x, y = points[shown.index(low)]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="310" height="46">'
        f'<path d="M{path}" fill="none" stroke="{_BLUE}" stroke-width="1.6"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{_ORANGE}"/>'
        f'<g fill="{_GREY}" font-family="sans-serif" font-size="10">'
        f'<text x="244" y="12">{decibels(high)}</text><text x="244" y="42">{decibels(low)}</text></g></svg>'
    )


def histogram(errors: Histogram) -> str:
    """A histogram of errors around zero, with both ends of its scale labelled."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="130" height="50">'
        f'<g transform="translate(5 2)"><path d="{bars(errors)}" fill="{_BLUE}"/>'
        f'<path d="M60 0V34" stroke="{_GREY}"/>'
        f'<g fill="{_GREY}" font-family="sans-serif" font-size="10" text-anchor="middle">'
        f'<text x="0" y="44" text-anchor="start">{errors.low:.2g}</text><text x="60" y="44">0</text>'
        f'<text x="120" y="44" text-anchor="end">{errors.high:.2g}</text></g></g></svg>'
    )


def bars(histogram: Histogram) -> str:
    """The SVG path of a histogram, 120 wide and 32 high; empty if nothing was counted."""
    top = max(histogram.counts, default=0)
    if not top:
        return ""
    width = 120 / len(histogram.counts)
    path = "M0 32"
    for i, number in enumerate(histogram.counts):
        # Square roots of counts keep the tails visible: saturation and outliers show there.
        height = 32 - 30 * math.sqrt(number / top)
        path += f"L{i * width:.1f} {height:.1f}H{(i + 1) * width:.1f}"
    return path + "V32Z"
