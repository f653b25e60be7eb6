"""Images drawn: a contact sheet of what arrives when, and maps through time."""

__all__ = ["plot_examples", "plot_maps"]

import math
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine

from analysis.rows import alike, matching
from analysis.style import LABELS, SEQUENTIAL, task_color, text_color


@alike
def plot_examples(
    examples: pd.DataFrame,
    *,
    per_category: int,
    figure: Figure | None = None,
    columns: int = 3,
) -> Figure:
    """Contact sheet of each category's images side by side.

    Defects are outlined; a frame has the colour of its task.

    How to read it: left to right in order of arrival; each category shows a normal
    image, then its defects.

    Args:
        examples: Of `analysis.pictures.examples`: `category task defect image mask`,
            images (H, W, 3), masks (H, W).
        per_category: Images of each category.
        figure: Where to draw; a new figure by default.
        columns: Categories per row.

    Example:
        >>> from analysis.pictures import examples, plot_examples
        >>> sheet = examples(plan.samples(), plan.tasks, per_category=2)
        >>> figure = plot_examples(sheet, per_category=2)
    """
    categories = list(examples.groupby("category", sort=False))
    rows = math.ceil(len(categories) / columns)
    figure = figure or plt.figure()
    layout = figure.get_layout_engine()
    if isinstance(layout, ConstrainedLayoutEngine):
        layout.set(w_pad=0.03, h_pad=0.05, wspace=0.0, hspace=0.0)
    sheet = figure.subfigures(rows, columns)
    for subfigure, (category, images) in zip(np.ravel(sheet), categories):
        _draw_category(subfigure, category, images, per_category)
    return figure


def _draw_category(
    subfigure: SubFigure,
    category: str,
    rows: pd.DataFrame,
    n: int,
) -> None:
    task = int(rows["task"].iloc[0])
    color = task_color(task)
    title = f"task {task + 1}: {category}"
    subfigure.suptitle(title, size=14, color=text_color(task), weight="bold")
    axes = np.ravel(subfigure.subplots(1, n))
    for ax, row in zip(axes, rows.itertuples()):
        ax.imshow(row.image)
        if row.mask.any():
            ax.contour(row.mask, levels=[0.5], colors="#D81B60", linewidths=1.5)
        ax.set_xlabel(row.defect.replace("_", "\n"), size=12, labelpad=2)
        ax.spines[:].set(visible=True, color=color, linewidth=2)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.set_visible(bool(ax.images))


@alike
def plot_maps(
    maps: pd.DataFrame,
    pictures: pd.DataFrame,
    *,
    value: str = "rarity",
    steps: Sequence[int] | None = None,
    figure: Figure | SubFigure | None = None,
    **kwargs: Any,
) -> Figure | SubFigure:
    """Anomaly maps of images under each snapshot, beside the photograph.

    The defect is outlined; under a map stand the image's score and the image AUROC of
    its category by the same model.

    How to read it: from left to right what the same photograph looked like to the model
    after each task. A defect that was bright and goes dark was forgotten; where all
    goes bright, the normal was. One colour scale holds for the whole figure: by
    default how rare such a score is among normal test pixels of the same model, so
    that models of another scale can be compared.

    Args:
        maps: Of `measure_maps`, of one run.
        pictures: Of `read_pictures`, for the same images.
        value: `"rarity"`, or `"map"` for the scores as they are.
        steps: Which ones; all of `maps` by default.
        figure: Where to draw; a new figure by default.
        **kwargs: For `Axes.imshow`.

    Raises:
        ValueError: Several runs, another value, or a picture that is not there.

    Example:
        >>> from analysis import image_scores
        >>> from analysis.pictures import measure_maps, pick_images
        >>> from analysis.pictures import plot_maps, read_pictures
        >>> names = list(pick_images(image_scores(run), n=2)["name"])
        >>> maps = measure_maps(run, image=names)
        >>> figure = plot_maps(maps, read_pictures(run, names))
    """
    if value not in ("rarity", "map"):
        raise ValueError(f"Expected value='rarity' or 'map'; got {value!r}.")
    if maps["run"].nunique() > 1:
        names = ", ".join(maps["run"].unique())
        raise ValueError(f"Expected the maps of one run; got {names}.")
    missing = set(maps["name"]) - set(pictures["name"])
    if missing:
        raise ValueError(
            f"Expected pictures of every map; got none of {', '.join(sorted(missing))}:"
            " read_pictures(run, names)."
        )
    shown = [one for one in pictures["name"] if one in set(maps["name"])]
    lines = [(name, part) for name in shown for part in maps["part"].unique()]
    steps = sorted(maps["step"].unique()) if steps is None else steps
    figure = figure or plt.figure()
    axes = figure.subplots(len(lines), 1 + len(steps), squeeze=False)
    scale = _scale(maps, value) | kwargs
    drawn = None
    for row, (name, part) in zip(axes, lines):
        picture = pictures[pictures["name"] == name].iloc[0]
        _draw_photograph(row[0], picture, part if maps["part"].nunique() > 1 else "")
        for ax, step in zip(row[1:], steps):
            one = matching(maps, name=name, part=part, step=step)
            if len(one):
                drawn = _draw_map(ax, one.iloc[0], picture["mask"], value, scale)
            else:
                ax.text(0.5, 0.5, "not learned", size=13, color="0.45", ha="center")
                ax.axis("off")
    for ax, step in zip(axes[0, 1:], steps):
        ax.set_title(f"after task {step + 1}", size=14, loc="center")
    _draw_bar(figure, axes, drawn, value)
    return figure


# Ticks of rarity: −log10 of the share of normal pixels that score as high.
RARITIES = {0: "0 %", 1: "90 %", 2: "99 %", 3: "99.9 %", 4: "all"}


def _scale(maps: pd.DataFrame, value: str) -> dict[str, Any]:
    """Limits and colours that hold for all maps of a figure."""
    if value == "rarity":
        return {"vmin": 0, "vmax": max(RARITIES), "cmap": SEQUENTIAL}
    pixels = np.concatenate([np.asarray(one) for one in maps[value]])
    low, high = np.percentile(pixels, [1, 99.9])
    return {"vmin": low, "vmax": high, "cmap": SEQUENTIAL}


def _draw_photograph(ax: Axes, picture: pd.Series, part: str) -> None:
    ax.imshow(picture["image"])
    if picture["mask"].any():
        ax.contour(picture["mask"], levels=[0.5], colors="#D81B60", linewidths=2)
    words = [picture["category"], picture["defect"], LABELS.get(part, part)]
    told = "\n".join(word.replace("_", " ") for word in words if word)
    ax.set_xlabel(told, size=13)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _draw_map(
    ax: Axes, row: pd.Series, mask: np.ndarray, value: str, scale: dict[str, Any]
) -> AxesImage:
    values = np.asarray(row[value]).reshape(row["height"], row["width"])
    sides = (-0.5, mask.shape[1] - 0.5, mask.shape[0] - 0.5, -0.5)
    image = ax.imshow(values, extent=sides, **scale)
    if mask.any():
        ax.contour(mask, levels=[0.5], colors="white", linewidths=1)
    told = f"score {_digits(row['score'])}\nAUROC {row['auroc']:.2f}"
    ax.set_xlabel(told, size=13)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return image


def _digits(score: float) -> str:
    """Three digits, and whole numbers from a hundred on: never a power of ten."""
    return f"{score:,.0f}" if abs(score) >= 100 else f"{score:.3g}"


def _draw_bar(
    figure: Figure | SubFigure, axes: np.ndarray, drawn: AxesImage | None, value: str
) -> None:
    if drawn is None:
        return
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, aspect=30, pad=0.02)
    bar.ax.tick_params(labelsize=13)
    if value == "rarity":
        bar.set_ticks(list(RARITIES), labels=list(RARITIES.values()))
        bar.set_label("normal pixels that score lower", size=14)
    else:
        bar.set_label("score", size=14)
