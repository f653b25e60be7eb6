"""The law over figures: what a slide must have before anyone is shown it.

`faults(figure)` names what is missing. The figure is drawn once with its words left
out, so that what lies behind each word is in the pixels.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from itertools import combinations
from typing import Any
from unittest.mock import patch

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection, QuadMesh
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv, to_rgb
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.path import Path
from matplotlib.patheffects import Stroke
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

from analysis.style import contrast

SLIDE = (12.8, 7.2)  # inches
SMALLEST = 12.0  # points
READABLE = 3.0
BUSY = 0.02  # share of the ground behind a word that something crosses
NOTHING = ("None", "none", " ", "", None)  # markers that are none
APART = 1.5  # contrast of what crosses it to that ground


def faults(figure: Figure) -> list[str]:
    """Everything for which a supervisor would send this figure back."""
    texts, pixels = _words_and_ground(figure)
    return [
        *_unlabelled(figure),
        *_unexplained(figure, texts),
        *_small(figure, texts),
        *_overlapping(texts),
        *_unreadable(texts, pixels),
    ]


def lawful(save: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse to save a figure that has faults.

    Args:
        save: Takes the figure and its name first.
    """

    def careful(figure: Figure, name: str, *args: Any, **options: Any) -> Any:
        found = faults(figure)
        if found:
            raise AssertionError(f"{name}: {'; '.join(found)}")
        return save(figure, name, *args, **options)

    return careful


def _words_and_ground(figure: Figure) -> tuple[list[Text], np.ndarray]:
    """The texts that are drawn, and the pixels (H, W, 3) without them."""
    texts: list[Text] = []

    def note(self: Text, *args: object) -> None:
        if self.get_visible() and self.get_text().strip():
            texts.append(self)

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # the layout settles
    with patch.object(Text, "draw", note):
        canvas.draw()
    return texts, np.asarray(canvas.buffer_rgba())[..., :3] / 255


# ---- labels


def _unlabelled(figure: Figure) -> Iterator[str]:
    """Axes that count something without saying what."""
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            if not (ax.axison and ax.get_visible() and axis.get_visible()):
                continue
            ticks = [text.get_text() for text in axis.get_ticklabels()]
            is_counting = any(map(_is_number, ticks))
            if is_counting and not axis.get_label_text().strip():
                yield f"an axis with {ticks} has no label"


def _is_number(text: str) -> bool:
    digits = text.replace("−", "-").strip("$%")
    try:
        float(digits)
    except ValueError:
        return "mathdefault" in digits
    return True


# ---- legends


def _unexplained(figure: Figure, texts: list[Text]) -> Iterator[str]:
    """Colours, and markers within a colour, that nothing gives a meaning."""
    seen = {look for ax in figure.axes for look in _looks(ax)}
    legends = figure.findobj(Legend)
    handles = [h for legend in legends for h in _handles(legend)]
    told = [color for h in handles for color in _colors_of(h)]
    told += [text.get_color() for text in texts]
    colors = {color for color, _ in seen}
    if len(colors) > 1:
        for color in sorted(colors):
            if not any(_same_hue(color, other) for other in told):
                yield f"nothing says what the colour {_hex(color)} means"
    shapes = defaultdict(set)
    for color, shape in seen:
        if shape is not None:
            shapes[color].add(shape)
    known = {shape for handle in handles for shape in _shapes_of(handle)}
    for color, several in shapes.items():
        if len(several) > 1 and several - known:
            yield f"nothing says what the markers of {_hex(color)} mean"
    if _is_measured(figure) and not _is_explained(figure):
        yield "colours hold numbers, without a bar or digits"


def _handles(legend: Legend) -> Iterator[Artist]:
    """What stands in a legend, the parts of error bars too."""
    kinds = (Line2D, LineCollection, PathCollection, Patch)
    for artist in legend.findobj(lambda one: isinstance(one, kinds)):
        if artist is not legend.legendPatch:
            yield artist


def _looks(ax: Axes) -> Iterator[tuple[tuple, Hashable]]:
    """Colour and marker of what an axes draws; references at zorder 0 are none."""
    if ax.get_label() == "<colorbar>":
        return
    bars = [bar for bar in ax.containers if isinstance(bar, ErrorbarContainer)]
    caps = {cap for bar in bars for cap in bar.lines[1]}
    for artist in (*ax.lines, *ax.collections, *ax.patches):
        if artist in caps:
            continue
        if artist.get_visible() and artist.get_zorder() > 0 and _is_drawn(artist):
            for color in _colors_of(artist):
                for shape in _shapes_of(artist) or {None}:
                    yield tuple(np.round(color, 2)), shape


def _is_drawn(artist) -> bool:
    if isinstance(artist, QuadMesh):
        return False
    if isinstance(artist, Line2D):
        return len(artist.get_xdata(orig=False)) > 0
    if isinstance(artist, PathCollection):
        return len(artist.get_offsets()) > 0 and artist.get_array() is None
    return getattr(artist, "get_array", lambda: None)() is None


def _colors_of(artist) -> list[tuple]:
    """What it is filled with, or else drawn with; white is paper."""
    if isinstance(artist, Line2D):
        found = [artist.get_color()]
        if artist.get_marker() not in NOTHING:
            found = [artist.get_markerfacecolor(), artist.get_markeredgecolor()]
            found += [artist.get_color()] if artist.get_linestyle() != "None" else []
    elif isinstance(artist, Patch):
        found = [artist.get_facecolor()]
    elif hasattr(artist, "get_facecolor"):
        found = [*artist.get_facecolor()] or [*artist.get_edgecolor()]
        if all(_is_paper(color) for color in found):
            found = [*artist.get_edgecolor()]
    else:
        found = []
    kept = {to_rgb(color) for color in found if not _is_paper(color)}
    return sorted(kept - {(0.0, 0.0, 0.0)}) or sorted(kept)


def _is_paper(color) -> bool:
    if isinstance(color, str) and color == "none":
        return True
    has_alpha = not isinstance(color, str) and len(color) == 4
    return (has_alpha and color[3] == 0) or contrast(to_rgb(color), "white") < 1.02


def _shapes_of(artist) -> set[Hashable]:
    if isinstance(artist, Line2D):
        marker = artist.get_marker()
        return set() if marker in NOTHING else {_outline_of_line(artist)}
    if isinstance(artist, PathCollection):
        return {_outline(path) for path in artist.get_paths()}
    return set()


def _outline_of_line(line: Line2D) -> Hashable:
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(line.get_marker())
    return _outline(style.get_path().transformed(style.get_transform()))


def _outline(path: Path) -> Hashable:
    corners = path.vertices / max(np.abs(path.vertices).max(), 1e-9)
    return tuple(np.round(corners, 1).ravel() + 0.0)


def _same_hue(color, other) -> bool:
    """Whether one colour is the other, perhaps darker so that it can be read."""
    one, two = rgb_to_hsv(to_rgb(color)), rgb_to_hsv(to_rgb(other))
    if np.allclose(to_rgb(color), to_rgb(other), atol=0.03):
        return True
    darker = hsv_to_rgb([two[0], two[1], one[2]])
    return two[2] < one[2] and np.allclose(darker, to_rgb(color), atol=0.03)


def _hex(color) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in color)


def _is_measured(figure: Figure) -> bool:
    bars = {ax for ax in figure.axes if ax.get_label() == "<colorbar>"}
    return any(
        isinstance(artist, QuadMesh) or getattr(artist, "get_array", lambda: None)()
        is not None and np.ndim(artist.get_array()) == 2
        for ax in set(figure.axes) - bars
        for artist in (*ax.collections, *ax.images)
    )  # fmt: skip


def _is_explained(figure: Figure) -> bool:
    return any(ax.get_label() == "<colorbar>" for ax in figure.axes)


# ---- words


def _small(figure: Figure, texts: list[Text]) -> Iterator[str]:
    shrunk = min(1, *(np.array(SLIDE) / figure.get_size_inches()))
    for text in texts:
        size = text.get_size() * shrunk
        if size < SMALLEST - 0.01:
            yield f"{text.get_text()!r} has {size:.1f} points on a slide"


def _overlapping(texts: list[Text]) -> Iterator[str]:
    boxes = [(text, _box(text)) for text in texts]
    for (one, a), (two, b) in combinations(boxes, 2):
        if a.intersects_path(b, filled=True):
            yield f"{one.get_text()!r} overlaps {two.get_text()!r}"


def _box(text: Text) -> Path:
    """The rectangle around a text, turned as the text is, a pixel smaller."""
    around, angle = Text.get_window_extent(text), text.get_rotation()
    text.set_rotation(0)
    level = Text.get_window_extent(text)  # without the arrow of an annotation
    text.set_rotation(angle)
    half = np.maximum([level.width - 2, level.height - 2], 0.1) / 2
    center = (around.p0 + around.p1) / 2
    unit = Path([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)])
    place = Affine2D().scale(*half).rotate_deg(angle).translate(*center)
    return place.transform_path(unit)


def _unreadable(texts: list[Text], pixels: np.ndarray) -> Iterator[str]:
    """Words that run out of the figure, do not stand out, or are struck through."""
    height, width = pixels.shape[:2]
    for text in texts:
        corners = _box(text).vertices
        (left, bottom), (right, top) = corners.min(0), corners.max(0)
        if left < 0 or bottom < 0 or right > width or top > height:
            yield f"{text.get_text()!r} runs out of the figure"
            continue
        behind = pixels[
            int(height - top) : int(height - bottom) + 1, int(left) : int(right) + 1
        ].reshape(-1, 3)
        own = _own_ground(text)
        ground = np.median(behind, axis=0) if own is None else to_rgb(own)
        found = contrast(text.get_color(), ground)
        if found < READABLE:
            yield f"{text.get_text()!r} stands out by {found:.1f} : 1 only"
        across = np.mean([contrast(pixel, ground) > APART for pixel in behind[::3]])
        has_box = own is not None and not _has_halo(text)
        if not has_box and not text.get_rotation() % 90 and across > BUSY:
            yield f"{text.get_text()!r} is crossed by data"


def _own_ground(text: Text):
    """Colour of the box or halo that a text brings along; None for a bare one."""
    box = text.get_bbox_patch()
    if box is not None and to_rgb(box.get_facecolor()) and box.get_facecolor()[3] > 0.6:
        return box.get_facecolor()
    for effect in text.get_path_effects():
        if isinstance(effect, Stroke):
            return effect._gc.get("foreground")
    return None


def _has_halo(text: Text) -> bool:
    """Whether a text has a halo, between whose letters a line is still seen."""
    return any(isinstance(effect, Stroke) for effect in text.get_path_effects())
