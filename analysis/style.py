"""Style of figures, and how they are kept.

The colours of tasks, and files that name the runs they were drawn from.

`plt.style.use("analysis.slides")` gives the type sizes of a slide. Colour is the task,
marker the category within it.
"""

__all__ = [
    "DIVERGING",
    "LABELS",
    "MARKERS",
    "SEQUENTIAL",
    "TASK_COLORS",
    "byte_axis",
    "bytes_of",
    "contrast",
    "dotted_line",
    "error_bars",
    "label_of",
    "legend_beside",
    "name_categories",
    "names_beside",
    "readable_digits",
    "save_figure",
    "slides_beneath",
    "spread",
    "task_color",
    "text_color",
]

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
import pandas as pd
from filelock import FileLock
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.image import imread

from analysis.words import LABELS, label_of
from cl_flow.calls import checked

TASK_COLORS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#000000",
    "#8C8C00",
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
SEQUENTIAL = "cividis"
DIVERGING = "RdBu"  # centred at 0, a loss (negative) is red

NAMES = LABELS  # former name, for one release

READABLE = 3.0  # contrast of a text or a line with what lies behind it
SMALLEST = 12.0  # points of type on a slide

# A date in a file would make two drawings of the same data differ.
UNDATED = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
SLIDES = matplotlib.rc_params_from_file(
    Path(__file__).with_name("slides.mplstyle"), use_default_template=False
)
SAVING = {
    key: value
    for key, value in SLIDES.items()
    if key.startswith(("savefig.", "pdf.", "svg."))
}
PATIENCE_SECONDS = 30.0
# What has the letters of Chinese, Japanese and Korean: Linux, Windows, macOS.
WIDER_FONTS = (
    *(f"Noto Sans CJK {where}" for where in ("KR", "SC", "JP", "TC")),
    *(f"Noto Sans {where}" for where in ("KR", "SC", "JP", "TC")),
    *("NanumGothic", "UnDotum", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei"),
    *("Malgun Gothic", "Microsoft YaHei", "SimHei", "Yu Gothic"),
    *("Apple SD Gothic Neo", "AppleGothic", "PingFang SC", "PingFang HK"),
    *("Hiragino Sans GB", "Hiragino Sans", "Arial Unicode MS"),
)


def font_families() -> list[str]:
    """Return the slides' font, and those here that have the letters that it lacks."""
    here = set(get_font_names())
    return [SLIDES["font.family"][0], *(name for name in WIDER_FONTS if name in here)]


SLIDES["font.family"] = font_families()
# Matplotlib would read the file, which cannot know what is installed.
matplotlib.style.library["analysis.slides"] = SLIDES


def task_color(task: int) -> str:
    """Return the colour of the task with this index.

    Okabe and Ito's, safe for the colour-blind, with olive for a yellow that vanishes on
    white; from the ninth on again, each time darker.

    Example:
        >>> task_color(0)
        '#0072B2'
    """
    again, place = divmod(int(task), len(TASK_COLORS))
    return _darker(TASK_COLORS[place], 0.6**again)


def text_color(task: int) -> str:
    """Return a task's colour, dark enough to be read on white (3 : 1)."""
    color = task_color(task)
    while contrast(color, "white") < READABLE:
        color = _darker(color, 0.95)
    return color


def contrast(one: Any, other: Any) -> float:
    """Return the contrast of two colours, from 1 to 21.

    References:
        Web content accessibility guidelines 2.1 (2018), relative luminance
        https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio
    """
    dark, light = sorted(map(_luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: Any) -> float:
    parts = np.asarray(to_rgb(color))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _darker(color: str, factor: float) -> str:
    return to_hex(np.asarray(to_rgb(color)) * factor).upper()


def readable_digits(ax: Axes) -> None:
    """Give the digits of a heatmap the better of black and white.

    Where a cell cannot hold them at 12 points, they are left out: the colour bar says
    what they would.
    """
    mesh = ax.collections[-1]
    mesh.update_scalarmappable()
    n_columns = round(ax.get_xlim()[1])
    n_rows = round(ax.get_ylim()[0])
    width, height = 72 * np.array([ax.bbox.width, ax.bbox.height]) / ax.figure.dpi
    room = min(width / n_columns, height / n_rows)
    colors = mesh.get_facecolors()
    n_digits = np.ma.count(mesh.get_array())
    for text in list(ax.texts)[-n_digits:]:  # whatever was drawn there before
        if 0.62 * SMALLEST * len(text.get_text()) > room:
            text.remove()
            continue
        x, y = text.get_position()
        cell = colors[int(y) * n_columns + int(x)]
        is_light = contrast(cell, "black") > contrast(cell, "white")
        text.set(color="black" if is_light else "white")
        fitting = min(room / 1.6, room / (0.62 * len(text.get_text())))
        text.set_size(max(SMALLEST, min(text.get_size(), fitting)))


def byte_axis(ax: Axes, n_bytes: Iterable[float]) -> float:
    """Make x an axis of bytes, logarithmic, whose left end stands for none.

    Args:
        ax: The axes, before anything is drawn there.
        n_bytes: All bytes that are to be drawn, 0 included.

    Returns:
        Where those stand that keep nothing.
    """
    some = [n for n in n_bytes if n > 0] or [10.0]
    powers = range(int(np.log10(min(some))), int(np.log10(max(some))) + 1)
    edge = 10.0 ** (powers[0] - 1)
    ax.set_xscale("log")
    ticks = [10.0**power for power in powers]
    ax.set_xticks([edge, *ticks], ["none", *map(bytes_of, ticks)])
    ax.minorticks_off()
    ax.set_xlim(edge / 2, 2 * max(some))
    return edge


def bytes_of(n: float) -> str:
    """Bytes as a person reads them, to three digits.

    Example:
        >>> bytes_of(970_440)
        '970 kB'
    """
    if n == 0:
        return "none"
    for size, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n:g} B"


def dotted_line(ax: Axes, *, x: float | None = None, y: float | None = None) -> None:
    """Draw a dotted line behind the data, upright at x or level at y."""
    style = {"color": "0.6", "lw": 1.5, "ls": ":", "zorder": 0}
    if x is not None:
        ax.axvline(x, **style)
    if y is not None:
        ax.axhline(y, **style)


def error_bars(rows: pd.DataFrame, name: str = "value") -> list[pd.Series]:
    """Return the lengths of error bars, below and above the estimates.

    Args:
        rows: With the columns `name`, `low` and `high`.
        name: Column of the estimates.
    """
    sides = [rows[name] - rows["low"], rows["high"] - rows[name]]
    return [side.clip(lower=0.0) for side in sides]  # few resamples may miss a mean


def legend_beside(ax: Axes, **options: Any) -> None:
    """Draw the legend to the right of the axes."""
    ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), **options)


def name_categories(ax: Axes, tasks: Mapping[str, int]) -> None:
    """Name the rows and columns of a heatmap, one a category.

    Names have the colour of their task, and lines part the tasks.

    Args:
        ax: A heatmap.
        tasks: Task of each category, in the order drawn.
    """
    for edge in np.flatnonzero(np.diff(list(tasks.values()))) + 1:
        ax.axhline(edge, color="black", lw=2)
        ax.axvline(edge, color="black", lw=2)
    middles = np.arange(len(tasks)) + 0.5
    ax.set_xticks(middles, list(tasks), rotation=90, size=13)
    ax.set_yticks(middles, list(tasks), rotation=0, size=13)
    ax.tick_params(length=0)
    for label in [*ax.get_xticklabels(), *ax.get_yticklabels()]:
        label.set_color(text_color(tasks[label.get_text()]))


def names_beside(
    ax: Axes, points: Sequence[tuple[str, float, float, Any]], *, size: float = 14.0
) -> None:
    """Name points to the right of the axes, no name over another.

    A thin line leads from each point to its name. The limits of y have to stand.

    Args:
        ax: The axes, with all that is drawn there.
        points: Name, x, y and colour of each.
        size: Of the type, in points.
    """
    height = 72 * ax.bbox.height / ax.figure.dpi
    to_axes = ax.transData - ax.transAxes
    wanted = to_axes.transform([point[1:3] for point in points])[:, 1]
    n_lines = 1 + max((point[0].count("\n") for point in points), default=0)
    # More than their height, as the axes may yet shrink for a legend and a title.
    places = spread(wanted, 1.3 * (2 * n_lines - 1) * size / height)
    heights = to_axes.inverted().transform(np.column_stack([wanted, places]))[:, 1]
    line: dict[str, Any] = {
        "arrowstyle": "-",
        "lw": 1,
        "shrinkA": 0,
        "relpos": (0, 0.5),
    }
    for (name, x, y, color), place in zip(points, heights):
        ax.annotate(
            name,
            (x, y),
            (1.03, place),
            textcoords=("axes fraction", "data"),
            va="center",
            size=size,
            color=color,
            arrowprops={"color": color, **line},
        )


def spread(wanted: np.ndarray, gap: float) -> np.ndarray:
    """Places in [0, 1] at least a gap apart, in the order of those wanted (n,).

    Example:
        >>> spread(np.array([0.5, 0.5, 0.9]), 0.1).round(2).tolist()
        [0.45, 0.55, 0.9]
    """
    order = np.argsort(wanted, kind="stable")
    sorted_ = wanted[order]
    steps = gap * np.arange(len(wanted))
    pushed_up = np.maximum.accumulate(sorted_ - steps) + steps
    pushed_down = np.minimum.accumulate((sorted_ - steps)[::-1])[::-1] + steps
    middle = (pushed_up + pushed_down) / 2
    places = np.empty_like(middle)
    places[order] = np.clip(middle, steps, np.maximum(1 - steps[::-1], steps))
    return places


def slides_beneath() -> AbstractContextManager[None]:
    """Draw as on slides whatever the session leaves at matplotlib's defaults."""
    now, default = matplotlib.rcParams, matplotlib.rcParamsDefault
    unset = {key: value for key, value in SLIDES.items() if now[key] == default[key]}
    return matplotlib.rc_context(unset)


@checked
def save_figure(
    figure: Figure, name: str, folder: str | Path, *, facts: Mapping[str, Any]
) -> list[Path]:
    """Write a figure as PDF, SVG and PNG into `folder`.

    The MANIFEST.json there tells under `name` what it was drawn from.

    The same figure and facts give the same bytes in every run. A reader sees each file
    old or new, never half, and notebooks that save into one folder at the same time
    keep each other's entries. Where the PNG looks like the one that is there, the other
    two are not drawn again.

    Args:
        figure: The figure; its files are opaque white and keep their text editable,
            whichever style is active.
        name: File name without suffix.
        folder: Made if missing.
        facts: What JSON can hold: notebook, runs, config hashes, data hash, versions.

    Returns:
        The three paths.

    Raises:
        ValueError: `name` is not a plain file name, JSON cannot hold `facts`, or the
            MANIFEST.json there is not ours.
        filelock.Timeout: Another process keeps the MANIFEST.json locked.

    Example:
        >>> import tempfile
        >>> from matplotlib.figure import Figure
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = save_figure(Figure(), "empty", folder, facts={"runs": []})
        >>> [path.name for path in paths]
        ['empty.pdf', 'empty.svg', 'empty.png']
    """
    if not name or name.startswith(".") or Path(name).name != name:
        raise ValueError(f"Expected a plain file name without a folder; got {name!r}.")
    _json(dict(facts))  # refuses before anything is written
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    *vectors, png = paths = [folder / f"{name}.{kind}" for kind in UNDATED]
    with matplotlib.rc_context(SAVING), _laid_out_once(figure):
        with _replacing(png) as partial:  # renamed last: it vouches for the others
            _write(figure, partial, "png")
            if not (all(map(Path.exists, paths)) and _look_alike(partial, png)):
                for path in vectors:
                    with _replacing(path) as other:
                        _write(figure, other, path.suffix[1:])
    _record(folder / "MANIFEST.json", name, dict(facts))
    return paths


def _write(figure: Figure, path: Path, kind: str) -> None:
    """Write one file; what follows is laid out as it was."""
    figure.savefig(path, format=kind, metadata=UNDATED[kind])
    figure.set_layout_engine("none")


@contextmanager
def _laid_out_once(figure: Figure) -> Iterator[None]:
    """Give the figure its layout engine back."""
    engine = figure.get_layout_engine()
    try:
        yield
    finally:
        # None would mean whatever rcParams say.
        figure.set_layout_engine(engine or "none")


def _look_alike(one: Path, other: Path) -> bool:
    """Whether two PNGs show the same.

    The layout of images is a matter of rounding: some pixels differ by 1 of 255.
    """
    try:
        first, second = imread(one), imread(other)
    except (OSError, SyntaxError):  # the latter is Pillow's, of a broken file
        return False
    return first.shape == second.shape and np.abs(first - second).max() < 2.5 / 255


def _record(path: Path, name: str, facts: dict[str, Any]) -> None:
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=PATIENCE_SECONDS):
        manifest = _manifest(path)
        with _replacing(path) as partial:
            partial.write_text(_json({**manifest, name: facts}), encoding="utf-8")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a neighbour of `path`, renamed when all went well."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _json(value: dict[str, Any]) -> str:
    try:
        return (
            json.dumps(
                value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False
            )
            + "\n"
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Expected facts of text, finite numbers, lists and dictionaries; got "
            f"{value}."
        ) from error


def _manifest(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError:
        manifest = None
    if not isinstance(manifest, dict):
        raise ValueError(
            f"Expected {path} to map figures to facts; got something else. Move it "
            "away and save again."
        )
    return manifest
