"""Draws figures as small inline SVG: no library, no script, and colours that follow the page.

Colours are CSS classes (``s0`` .. ``s5`` for series, ``q0`` .. ``q7`` for a scale from low to
high), so that one figure suits light and dark pages. All text is escaped here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

STYLE = (
    """
svg.jr{font:11px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;max-width:100%;height:auto;
 display:block}
svg.jr text{fill:var(--ink,#222a33)}svg.jr text.dim{fill:var(--dim,#5c6873)}
svg.jr text.r{text-anchor:end}svg.jr text.c{text-anchor:middle}svg.jr text.b{font-weight:600}
svg.jr .grid{stroke:var(--grid,#e3e7eb);stroke-width:1}
svg.jr .axis{stroke:var(--dim,#5c6873);stroke-width:1}
svg.jr .range{stroke:var(--ink,#222a33);stroke-width:1.3}
svg.jr .line{fill:none;stroke-width:1.6;stroke-linejoin:round}svg.jr .thin{stroke-width:1}
svg.jr .bold{stroke-width:2.4}svg.jr .dash{stroke-dasharray:4 3}
svg.jr .dot{stroke:var(--page,#fff);stroke-width:.8}svg.jr .faint{opacity:.55}
svg.jr .band{opacity:.18}svg.jr .cell{opacity:.6;shape-rendering:crispEdges}
svg.jr text.on{fill:var(--page,#fff);font-size:10px}svg.jr text.bad{fill:var(--bad,#c0322b)}
svg.jr text.halo{paint-order:stroke;stroke:var(--page,#fff);stroke-width:3px}
"""
    + "".join(
        f"svg.jr .{kind}.{name}{{{prop}:var(--{name},{colour})}}"
        for name, colour in {
            "s0": "#1f66c1",
            "s1": "#c2571a",
            "s2": "#2a8a4a",
            "s3": "#8a4fb5",
            "s4": "#b0325f",
            "s5": "#5c6873",
            "grey": "#b3bcc5",
            "bad": "#c0322b",
        }.items()
        for kind, prop in (("line", "stroke"), ("dot", "fill"), ("bar", "fill"), ("band", "fill"))
    )
    + "".join(
        f"svg.jr .{kind}.q{i}{{{prop}:var(--q{i},{colour})}}"
        for i, colour in enumerate(
            ("#d7e3f4", "#b5cdec", "#8fb3e2", "#6a99d6", "#467fc8", "#2b66b0", "#184d92", "#0a356f")
        )
        for kind, prop in (("line", "stroke"), ("dot", "fill"), ("bar", "fill"))
    )
)

DARK = """--page:#12161b;--ink:#e4e9ee;--dim:#9aa6b2;--grid:#28303a;--s0:#6ea8f0;--s1:#f0955a;
--s2:#62c483;--s3:#c393ea;--s4:#ee7ba4;--s5:#9aa6b2;--grey:#525d69;--bad:#f0736b;
--q0:#1d2b3d;--q1:#23405f;--q2:#2b5682;--q3:#376da4;--q4:#4b86c4;--q5:#6da1da;--q6:#98bfea;
--q7:#cfe2f8;"""

N_COLOURS = 8
_CHAR = 7.2
"""The width of a character in pixels."""


@dataclass(frozen=True)
class Figure:
    """Holds a figure that displays itself in a notebook and saves itself as a file."""

    title: str
    inner: str
    """The SVG's content."""
    width: int
    height: int
    note: str = ""
    """One sentence on how to read it."""
    data: Mapping[str, str] = field(default_factory=dict)
    """The ``data-`` attributes that the script of an interactive page reads."""

    def svg(self) -> str:
        """Returns the SVG for a page that has ``STYLE``."""
        data = "".join(f' data-{key}="{escape(value)}"' for key, value in self.data.items())
        return (
            f'<svg class="jr" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" role="img" aria-label="{escape(self.title)}"{data} '
            f'xmlns="http://www.w3.org/2000/svg">{self.inner}</svg>'
        )

    def _repr_html_(self) -> str:
        # Notebooks have a light page by default; the figure brings its own background.
        return (
            f"<figure style='margin:0;background:#fff;max-width:{self.width * 1.4:.0f}px'>"
            f"<style>{STYLE}</style><figcaption style='font:600 13px system-ui;color:#222a33'>"
            f"{escape(self.title)}</figcaption>{self.svg()}</figure>"
        )

    def save(self, path: str | Path) -> None:
        """Writes a stand-alone ``.svg`` that follows the viewer's light or dark mode."""
        style = f"<style>{STYLE}@media(prefers-color-scheme:dark){{svg.jr{{{DARK}}}}}</style>"
        head, _, tail = self.svg().partition(">")
        Path(path).write_text(f"{head}>{style}{tail}", encoding="utf-8")


@dataclass(frozen=True)
class Scale:
    """Maps values to 0 .. 1: linearly, logarithmically, or to one place per category."""

    low: float
    high: float
    log: bool = False
    categories: tuple[str, ...] = ()
    whole: bool = False
    """Ticks at whole numbers only."""

    @classmethod
    def of(
        cls,
        values: Iterable[float],
        *,
        log: bool = False,
        margin: float = 0.05,
        whole: bool = False,
    ) -> Scale:
        """Returns a scale that contains ``values`` with a margin; a default scale if there are
        none."""
        known = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
        if not known:
            return cls(0.1, 1.0, log=log) if log else cls(0.0, 1.0)
        low, high = min(known), max(known)
        if log:
            low, high = math.log10(low), math.log10(high)
        pad = (high - low) * margin or abs(high) * 0.05 or 0.5
        low, high = low - pad, high + pad
        if log:
            return cls(10**low, 10**high, log=True)
        return cls(low, high, whole=whole)

    @classmethod
    def naming(cls, categories: Iterable[object]) -> Scale:
        """Returns a scale of categories, in the given order."""
        return cls(0.0, 1.0, categories=tuple(map(str, categories)))

    @property
    def data(self) -> str:
        """Returns the scale for the script of an interactive page: both ends and the kind, or
        ``names``."""
        return "names" if self.categories else f"{self.low!r} {self.high!r}{' log' * self.log}"

    def at(self, value: object) -> float:
        """Returns the place of ``value``, 0 .. 1."""
        if self.categories:
            n = len(self.categories)
            name = str(value)
            return (self.categories.index(name) + 0.5) / n if name in self.categories else 0.5
        number, low, high = float(value), self.low, self.high  # type: ignore[arg-type]
        if self.log:
            number, low, high = (math.log10(max(v, 1e-300)) for v in (number, low, high))
        return (number - low) / ((high - low) or 1.0)

    def ticks(self, most: int = 5, room: float = 100.0) -> list[tuple[float, str]]:
        """Returns (place, label) of round values, or of categories in at most ``room`` pixels."""
        if self.categories:
            return [(self.at(c), fitted(c, room)) for c in self.categories]
        values = _log_ticks(self.low, self.high, most) if self.log else ()
        values = values or _round_ticks(self.low, self.high, most)
        return [(self.at(v), _number(v)) for v in values if not self.whole or v == int(v)]


@dataclass
class Plot:
    """Draws on a pair of axes; ``figure`` returns the result."""

    x: Scale
    y: Scale
    width: int = 440
    height: int = 260
    left: int = 46
    right: int = 12
    top: int = 12
    bottom: int = 40
    parts: list[str] = field(default_factory=list)
    """SVG elements between the axes."""
    around: list[str] = field(default_factory=list)
    """SVG elements outside the axes."""

    def px(self, value: object) -> float:
        """Returns the x coordinate of a value in the picture."""
        return self.left + self.x.at(value) * (self.width - self.left - self.right)

    def py(self, value: object) -> float:
        """Returns the y coordinate of a value in the picture."""
        return self.height - self.bottom - self.y.at(value) * (self.height - self.top - self.bottom)

    def line(
        self,
        points: Sequence[tuple[object, object]],
        style: str,
        tip: str = "",
        *,
        steps: bool = False,
    ) -> None:
        """Draws a line through points; ``steps``: horizontal until the next point."""
        places = [(self.px(x), self.py(y)) for x, y in points]
        if not places:
            return
        if len(places) == 1:
            self.dot(*points[0], style, tip, radius=2.2)
            return
        path = [f"M{places[0][0]:.1f} {places[0][1]:.1f}"]
        for x, y in places[1:]:
            path.append(f"H{x:.1f}V{y:.1f}" if steps else f"L{x:.1f} {y:.1f}")
        self.parts.append(f'<path class="line {style}" d="{"".join(path)}">{_tip(tip)}</path>')

    def dot(self, x: object, y: object, style: str, tip: str = "", radius: float = 3.2) -> None:
        """Draws a point."""
        self.parts.append(
            f'<circle class="dot {style}" cx="{self.px(x):.1f}" cy="{self.py(y):.1f}" '
            f'r="{radius}">{_tip(tip)}</circle>'
        )

    def box(
        self, left: float, top: float, right: float, bottom: float, style: str, tip: str = ""
    ) -> None:
        """Draws a filled rectangle, in coordinates of the picture."""
        x, y = min(left, right), min(top, bottom)
        self.parts.append(
            f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{abs(right - left):.1f}" '
            f'height="{abs(bottom - top):.1f}">{_tip(tip)}</rect>'
        )

    def vertical(self, x: object, label: str = "", style: str = "grid dash") -> None:
        """Draws a vertical line with a label above the axes, clear of every curve."""
        at = self.px(x)
        self.parts.append(
            f'<line class="{style}" x1="{at:.1f}" x2="{at:.1f}" y1="{self.top}" '
            f'y2="{self.height - self.bottom}"/>'
        )
        if label:
            self.text(at, self.top - 3, label, "dim c")

    def horizontal(self, y: object, label: str = "", style: str = "axis dash") -> None:
        """Draws a horizontal line with a label at its right end."""
        at = self.py(y)
        self.parts.append(
            f'<line class="{style}" y1="{at:.1f}" y2="{at:.1f}" x1="{self.left}" '
            f'x2="{self.width - self.right}"/>'
        )
        if label:
            self.text(self.width - self.right - 2, at - 5, label, "dim r halo")

    def text(self, x: float, y: float, words: str, style: str = "") -> None:
        """Draws text, in coordinates of the picture."""
        self.parts.append(f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>')

    def legend(self, entries: Sequence[tuple[str, str]]) -> None:
        """Draws (style, words) above the axes, where no curve runs.

        It moves the axes down, so call it before anything else is drawn.
        """
        x, y, end = float(self.left), 12.0, self.width - self.right
        for style, words in entries:
            shown = fitted(words, end - self.left - 19)
            if x > self.left and x + 19 + _CHAR * len(shown) > end:
                x, y = float(self.left), y + 15
            self.around.append(f'<path class="line bold {style}" d="M{x:.1f} {y - 4:.1f}h14"/>')
            self.around.append(_text(x + 19, y, shown, ""))
            x += 34 + _CHAR * len(shown)
        self.top = round(y) + 22

    def figure(self, title: str, x_label: str, y_label: str, note: str = "") -> Figure:
        """Returns the figure: what was drawn, with its axes."""
        bottom, right = self.height - self.bottom, self.width - self.right
        across = (right - self.left) / max(1, len(self.x.categories))
        axes: dict[str, list[str]] = {"x": [], "y": []}
        for place, label in self.x.ticks(5, across - 6):
            at = self.left + place * (right - self.left)
            if not self.x.categories:
                axes["x"].append(
                    f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{self.top}" '
                    f'y2="{bottom}"/>'
                )
            axes["x"].append(_text(at, bottom + 14, label, "dim c"))
        for place, label in self.y.ticks(5, self.left - 20):
            if not label:
                continue
            at = bottom - place * (bottom - self.top)
            axes["y"].append(
                f'<line class="grid" y1="{at:.1f}" y2="{at:.1f}" x1="{self.left}" x2="{right}"/>'
            )
            axes["y"].append(_text(self.left - 5, at + 4, label, "dim r"))
        ticks = "".join(f'<g class="ticks-{key}">{"".join(axes[key])}</g>' for key in axes)
        line = f'<path class="axis" fill="none" d="M{self.left} {self.top}V{bottom}H{right}"/>'
        marks = f'<g class="marks">{"".join(self.parts)}</g>'
        x_label, y_label = fitted(x_label, right - self.left), fitted(y_label, bottom - self.top)
        words = _text((self.left + right) / 2, self.height - 6, x_label, "dim c")
        middle = (self.top + bottom) / 2
        words += (
            f'<text class="dim c" transform="translate(11 {middle:.0f}) rotate(-90)">'
            f"{escape(y_label)}</text>"
        )
        inner = "".join([ticks, line, *self.around, marks, words])
        box = f"{self.left} {self.top} {right} {bottom}"
        data = {"box": box, "x": self.x.data, "y": self.y.data}
        return Figure(title, inner, self.width, self.height, note, data)


def colour_of(place: float) -> str:
    """Returns the CSS class of a place (0 .. 1) on the colour scale from low to high."""
    return f"q{min(N_COLOURS - 1, max(0, int(place * N_COLOURS)))}"


def _tip(words: str) -> str:
    return f"<title>{escape(words)}</title>" if words else ""


def _text(x: float, y: float, words: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>'


def fitted(words: str, room: float) -> str:
    """Shortens ``words`` in the middle so that they take at most ``room`` pixels."""
    most = max(4, int(room / _CHAR))
    if len(words) <= most:
        return words
    end = (most - 1) // 2
    return f"{words[: most - 1 - end]}…{words[-end:]}"


def _number(value: float) -> str:
    size = abs(value)
    if size >= 1e5 or 0 < size < 1e-3:
        mantissa, _, exponent = f"{value:.0e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.6g}"


def _round_ticks(low: float, high: float, most: int) -> list[float]:
    raw = (high - low) / max(1, most)
    if not math.isfinite(raw) or raw <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw), 10 * power)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1, 2, 5), (1, 3), (1,)):
        found = [m * 10.0**e for e in exponents for m in mantissas]
        found = [v for v in found if low <= v <= high]
        if len(found) <= most + 1:
            break
    every = max(1, math.ceil(len(found) / most))
    return found[::every] if len(found) > 1 else []
