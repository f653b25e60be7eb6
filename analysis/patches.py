"""Patches: points of an embedding that show where in which image they were cut."""

__all__ = ["PatchExplorer", "explore_patches", "plot_patch"]

from functools import lru_cache
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.embedding.measure import measure_embedding
from analysis.embedding.plot import plot_embedding
from analysis.live import DOTS, Live, State, drawn, step_slider
from analysis.pictures.measure import measure_maps, read_pictures
from analysis.pictures.plot import plot_maps
from analysis.rows import chosen, matching, step_of
from analysis.scoring import Scoring
from analysis.words import counted
from cl_flow.calls import checked
from cl_flow.runs.run import Run

SIZE = (12.8, 4.6)  # inches
AROUND = 1  # cells that are shown on each side of a patch
FRAME = "#56B4E9"
NEAR = 30  # pixels from a click to its patch, at most
NO_CLICKS = (
    "To choose a patch by a click: <code>pip install 'cl_flow[explore]'</code>, "
    "and load this page again."
)
CLICKS = "A click chooses the nearest patch."

Box = tuple[float, float, float, float]


@checked
def explore_patches(
    run: Run,
    embedded: pd.DataFrame | None = None,
    *,
    scoring: Scoring = Scoring(),
) -> "PatchExplorer":
    """Move through the patches of an embedding, by a slider or by a click.

    A category's maps are measured when its first patch is chosen, or read where they
    are cached. The last line of a cell shows it.

    Args:
        run: The run.
        embedded: Of `measure_embedding`, of the same run; measured by default.
        scoring: How to make the anomaly maps.

    Returns:
        A box of controls over a picture; `figure()` gives the picture as a figure of
        its own, for `save_figure`.

    Raises:
        ValueError: An embedding of another run.

    Example:
        >>> from analysis.embedding import measure_embedding
        >>> embedded = measure_embedding(run, method="joint", n_neighbors=5)
        >>> picture = explore_patches(run, embedded).figure()
    """
    embedded = measure_embedding(run) if embedded is None else embedded
    names = list(embedded["run"].unique())
    if names != [run.name]:
        raise ValueError(f"Expected an embedding of {run.name}; got {names}.")
    kinds = [name for name in ("method", "space", "level") if name in embedded]
    if len(embedded[kinds].drop_duplicates()) != 1:
        raise ValueError(
            "Expected one embedding; got several, which differ in "
            f"{', '.join(kinds)}. Choose the rows of one."
        )
    return PatchExplorer(run, embedded, scoring)


def plot_patch(
    embedded: pd.DataFrame,
    pictures: pd.DataFrame,
    maps: pd.DataFrame,
    *,
    name: str,
    cell: int,
    step: int = -1,
    figure: Figure | None = None,
) -> Figure:
    """One patch: where its latent lies, what it shows, and the map of its image.

    How to read it: the ring in the embedding and the frames on the image are the same
    patch; between them it stands among its neighbours. Colours, markers and stars are
    those of `plot_embedding`.

    Args:
        embedded: Of `measure_embedding`, of one run, method and space.
        pictures: Of `read_pictures`, with the patch's image.
        maps: Of `measure_maps`, of one part of the score; rows of other images and
            steps are left out.
        name: The image, as in `pictures`.
        cell: Its cell of the grid, as in `embedded`.
        step: Index of the last task learned; the last by default.
        figure: Where to draw; a new figure by default.
    """
    figure = figure or Figure(figsize=SIZE, dpi=DOTS, layout="constrained")
    step = step_of(embedded, step)
    point = chosen(patches_of(embedded, step), name=name, cell=cell).iloc[0]
    picture = chosen(pictures, name=name)
    widths = (1, 0.7, 1.4)
    ((left, middle, right),) = figure.subfigures(
        1, 3, squeeze=False, width_ratios=widths
    )
    _draw_place(left.subplots(), embedded, point)
    box = _box(point, picture["image"].iloc[0])
    _draw_near(middle.subplots(), picture["image"].iloc[0], box)
    plot_maps(chosen(maps, name=name), picture, steps=[step], figure=right)
    for ax in right.axes:
        if ax.images:
            ax.add_patch(_frame(box))
    return figure


def patches_of(embedded: pd.DataFrame, step: int) -> pd.DataFrame:
    """The patches of one step in the order of the table, with their images' names.

    Args:
        embedded: Of `measure_embedding`, of one run, method and space.
        step: Index of the last task learned.
    """
    rows = matching(embedded, step=step)
    rows = rows[rows["label"] != "center"].reset_index(drop=True)
    return rows.assign(name=rows["category"] + "/" + rows["image"])


def _draw_place(ax: Axes, embedded: pd.DataFrame, point: pd.Series) -> None:
    step, task = point["step"], point["task"]
    plot_embedding(embedded, step=step, ax=ax, focus=task, legend=False)
    look = {"s": 400, "facecolor": "none", "edgecolor": "black", "linewidth": 2.5}
    ax.scatter(point["x"], point["y"], zorder=6, **look)


def _draw_near(ax: Axes, image: np.ndarray, box: Box) -> None:
    """The patch among its neighbours, cut from the image."""
    ax.imshow(image)
    ax.add_patch(_frame(box))
    left, top, width, height = box
    ax.set_xlim(_around(left, width, image.shape[1]))
    above, below = _around(top, height, image.shape[0])
    ax.set_ylim(below, above)
    ax.set_xlabel(f"the patch,\n{width:.0f} × {height:.0f} pixels", size=13)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _around(begin: float, length: float, side: int) -> tuple[float, float]:
    """From where to where a patch and its neighbours reach, within the image."""
    wanted = min((1 + 2 * AROUND) * length, side)
    first = np.clip(begin - AROUND * length, -0.5, side - 0.5 - wanted)
    return first, first + wanted


def _box(point: pd.Series, image: np.ndarray) -> Box:
    """Left, top, width and height of a patch's cell in pixels of its image."""
    height = image.shape[0] / point["height"]
    width = image.shape[1] / point["width"]
    row, column = divmod(point["cell"], point["width"])
    return column * width - 0.5, row * height - 0.5, width, height


def _frame(box: Box) -> Rectangle:
    x, y, width, height = box
    return Rectangle((x, y), width, height, fill=False, edgecolor=FRAME, linewidth=3)


class PatchExplorer(Live):
    """Controls over a picture of one patch under one snapshot.

    Args:
        run: The run.
        embedded: Of `measure_embedding`, of this run.
        scoring: How to make the anomaly maps.
    """

    def __init__(self, run: Run, embedded: pd.DataFrame, scoring: Scoring) -> None:
        self._run = run
        self._embedded = embedded
        self._scoring = scoring
        self._pixels: dict[int, np.ndarray] = {}
        self._maps = lru_cache(self._measured)
        self._picture = lru_cache(16)(self._read)
        self._first = int(embedded["step"].iloc[0])
        n = len(patches_of(embedded, self._first))
        self.patch = widgets.IntSlider(
            min=1, max=n, description="patch", continuous_update=False
        )
        step = step_slider()
        steps = embedded["step"].unique().tolist()
        step.options = [(str(counted(one)), one) for one in steps]
        step.value = steps[-1]
        events = _events()
        hint = widgets.HTML(NO_CLICKS if events is None else CLICKS)
        super().__init__([widgets.HBox([step, self.patch, hint])], step=step)
        if events is not None:
            self.clicks = events.Event(source=self.picture, watched_events=["click"])
            self.clicks.on_dom_event(self._choose)
        for one in (step, self.patch):
            one.observe(lambda change: self._show(), "value")
        self._show()

    def _state(self) -> State:
        return ("step", self.step.value), ("patch", self.patch.value)

    def _figure(self, state: State) -> Figure:
        choice = dict(state)
        patches = patches_of(self._embedded, choice["step"])
        point = patches.iloc[choice["patch"] - 1]
        return plot_patch(
            self._embedded,
            self._picture(point["name"]),
            self._maps(point["category"]),
            name=point["name"],
            cell=point["cell"],
            step=choice["step"],
        )

    def _measured(self, category: str) -> pd.DataFrame:
        """Maps of the images of a category that patches were cut from."""
        patches = patches_of(self._embedded, self._first)
        patches = matching(patches, category=category)
        names = list(patches["name"].unique())
        scoring = self._scoring
        return measure_maps(
            self._run,
            image=names,
            part=scoring.part[:1],
            given=scoring.given[0],
            scoring=scoring,
        )

    def _read(self, name: str) -> pd.DataFrame:
        return read_pictures(self._run, [name])

    def _drawn(self, state: State) -> bytes:
        """A picture, noting where its points lie."""
        figure = self._figure(state)
        png = drawn(figure)
        step = dict(state)["step"]
        xy = patches_of(self._embedded, step)[["x", "y"]].to_numpy()
        places = figure.axes[0].transData.transform(xy)
        self._pixels[step] = np.array([0, figure.bbox.height]) + [1, -1] * places
        return png

    def _choose(self, event: dict[str, Any]) -> None:
        """Choose the patch that is nearest to a click, if one is near."""
        at = [event["dataX"], event["dataY"]]
        distances = np.linalg.norm(self._pixels[self.step.value] - at, axis=1)
        if distances.min() <= NEAR:
            self.patch.value = int(distances.argmin()) + 1


def _events() -> Any:
    """The library that hears clicks, where it is installed."""
    try:
        import ipyevents
    except ModuleNotFoundError:
        return None
    return ipyevents
