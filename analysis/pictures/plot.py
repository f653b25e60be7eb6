"""The images themselves: a contact sheet of what arrives when."""

__all__ = ["plot_examples"]

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.style import task_color


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
    categories = list(dict.fromkeys(examples["category"]))
    rows = -(-len(categories) // columns)
    figure = figure or plt.figure(figsize=(2.0 * per_category * columns, 2.4 * rows))
    for place, subfigure in enumerate(
        np.ravel(figure.subfigures(rows, columns, wspace=0.02, hspace=0.02))
    ):
        if place < len(categories):
            _draw_category(
                subfigure,
                examples[examples["category"] == categories[place]],
                per_category,
            )
    return figure


def _draw_category(subfigure: Any, rows: pd.DataFrame, n: int) -> None:
    color = task_color(int(rows["task"].iloc[0]))
    subfigure.suptitle(
        f"task {rows['task'].iloc[0] + 1}: {rows['category'].iloc[0]}",
        size=16,
        color=color,
        weight="bold",
    )
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
