"""Images drawn: a contact sheet of what arrives when."""

__all__ = ["plot_examples"]

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure, SubFigure

from analysis.rows import alike
from analysis.style import task_color


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
    """
    categories = list(examples.groupby("category", sort=False))
    rows = math.ceil(len(categories) / columns)
    figure = figure or plt.figure(figsize=(2.0 * per_category * columns, 2.4 * rows))
    sheet = figure.subfigures(rows, columns, wspace=0.02, hspace=0.02)
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
    subfigure.suptitle(title, size=16, color=color, weight="bold")
    axes = np.ravel(subfigure.subplots(1, n))
    for ax, row in zip(axes, rows.itertuples()):
        ax.imshow(row.image)
        if row.mask.any():
            ax.contour(row.mask, levels=[0.5], colors="#D81B60", linewidths=2)
        ax.set_title(row.defect.replace("_", " "), size=12, loc="center", pad=3)
        ax.spines[:].set(visible=True, color=color, linewidth=3)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.set_visible(bool(ax.images))
