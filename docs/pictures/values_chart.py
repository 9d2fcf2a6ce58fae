"""A small line chart as SVG, for values.py: text as text, no font and no file from elsewhere, readable on light and dark pages."""
from html import escape

WIDTH, LANE, GAP = 720, 176, 8  # of the picture, of its only lane, between two of several; in pixels
TOP, BOTTOM, LEFT, RIGHT = 24, 34, 38, 14  # around the lanes

# Each look has one colour for a light page and one for a dark page; both stand out from the panel by 4.5 to 1 at least.
COLOURS = {"raw": ("#656d76", "#9198a1"), "first": ("#0858b8", "#6cb0ff"), "second": ("#b03a00", "#ff9a5c"),
           "band": ("#0f6e31", "#56d364"), "text": ("#424a53", "#c9d1d9")}
PALE = {"true": ("#c3dcfb", "#1f4272"), "filled": ("#c9efd3", "#1d4a2b"), "shade": ("#f3e3d9", "#3d2a20"),
        "grid": ("#e6eaef", "#2b323b"), "panel": ("#ffffff", "#161b22")}


def style():
    def rules(which):
        strong = "".join(f"path.{name}{{stroke:{pair[which]}}}text.{name}{{fill:{pair[which]}}}" for name, pair in COLOURS.items())
        pale = "".join(f"path.{name}{{stroke:{PALE[name][which]}}}" for name in ("true", "grid"))
        filled = "".join(f"rect.{name}{{fill:{PALE[name][which]}}}" for name in ("filled", "shade", "panel"))
        # A label keeps a seam of the panel around it, so that a line behind it does not make it unreadable.
        return f"{strong}{pale}{filled}text{{stroke:{PALE['panel'][which]}}}"
    return f"<style>text{{paint-order:stroke}}{rules(0)}@media(prefers-color-scheme:dark){{{rules(1)}}}</style>"


def number(value):
    return f"{value:.1f}".removesuffix(".0")


class Chart:
    """One picture. Points are in the units of the axes; what is drawn later lies in front."""

    def __init__(self, title, description, across, up, lanes=1, right=RIGHT):
        self.title, self.description, self.across, self.up = title, description, across, up
        self.lanes, self.right = lanes, WIDTH - right
        self.lane_height = LANE if lanes == 1 else 72
        self.height = TOP + lanes * self.lane_height + (lanes - 1) * GAP + BOTTOM
        self.shapes, self.labels = [], []
        self.lane(0)

    def lane(self, index):
        self.top = TOP + index * (self.lane_height + GAP)

    def x(self, value):
        low, high = self.across
        return LEFT + (value - low) / (high - low) * (self.right - LEFT)

    def y(self, value):
        low, high = self.up
        return self.top + (high - value) / (high - low) * self.lane_height

    def place(self, point):
        return f"{number(self.x(point[0]))} {number(self.y(point[1]))}"

    def axes(self, name, along, unit, up):
        bottom = self.top + self.lane_height
        for value in up:
            y = number(self.y(value))
            self.shapes.append(f'<path class="grid" d="M{LEFT} {y}H{number(self.right)}"/>')
            self.text(LEFT - 6, self.y(value) + 4, str(value), "text", "end")
        self.shapes.append(f'<path class="text" d="M{LEFT} {bottom}H{number(self.right)}"/>')
        if name:
            for value in along:
                self.shapes.append(f'<path class="text" d="M{number(self.x(value))} {bottom}v4"/>')
                self.text(self.x(value), bottom + 16, str(value), "text", "middle")
            self.text((LEFT + self.right) / 2, bottom + 30, name, "text", "middle")
        if unit:
            self.text(LEFT - 6, TOP - 10, unit, "text", "end")

    def line(self, points, look, width=1.8, dash=False):
        path = "M" + "L".join(self.place(point) for point in points)
        dashes = ' stroke-dasharray="7 3"' if dash else ""
        self.shapes.append(f'<path class="{look}" stroke-width="{width}"{dashes} d="{path}"/>')

    def dots(self, points, look, size=3):
        """Points as lines of no length with round ends: a tenth of the bytes of circles."""
        path = "".join(f"M{self.place(point)}h.01" for point in points)
        self.shapes.append(f'<path class="{look}" stroke-width="{size}" stroke-linecap="round" d="{path}"/>')

    def rings(self, points, look):
        path = "".join(f"M{number(self.x(x) - 5)} {number(self.y(y))}a5 5 0 1 0 10 0a5 5 0 1 0-10 0" for x, y in points)
        self.shapes.append(f'<path class="{look}" stroke-width="1.8" d="{path}"/>')

    def crosses(self, points, look):
        path = "".join(f"M{number(self.x(x) - 3.5)} {number(self.y(y) - 3.5)}l7 7m0-7l-7 7" for x, y in points)
        if path:
            self.shapes.append(f'<path class="{look}" stroke-width="1.8" d="{path}"/>')

    def band(self, start, end, low, high):
        self.rectangle("filled", start, end, low, high)

    def shade(self, start, end):
        self.rectangle("shade", start, end, *self.up)

    def rectangle(self, look, start, end, low, high):
        x, y = self.x(start), self.y(high)
        width, height = self.x(end) - x, self.y(low) - y
        self.shapes.append(f'<rect class="{look}" x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{number(height)}"/>')

    def label(self, across, up, words, look, anchor="start"):
        self.text(self.x(across), self.y(up) + 4, words, look, anchor)

    def text(self, x, y, words, look, anchor):
        at = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.labels.append(f'<text class="{look}" x="{number(x)}" y="{number(y)}"{at}>{escape(words)}</text>')

    def svg(self):
        lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" role="img" '
                 'aria-labelledby="title desc">',
                 f'<title id="title">{escape(self.title)}</title>', f'<desc id="desc">{escape(self.description)}</desc>', style(),
                 f'<rect class="panel" width="{WIDTH}" height="{self.height}" rx="8"/>',
                 '<g fill="none" stroke-width="1" stroke-linejoin="round">', *self.shapes, "</g>",
                 '<g font-family="system-ui, Helvetica, Arial, sans-serif" font-size="13" stroke-width="3" stroke-linejoin="round">',
                 *self.labels, "</g>", "</svg>", ""]
        return "\n".join(lines)
