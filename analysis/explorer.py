"""Explorer: an image, its map and its rank under every snapshot, at a slider's pace."""

__all__ = ["Explorer", "explore", "plot_moment"]

import textwrap
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import pandas as pd
from matplotlib.figure import Figure

from analysis.detection.measure import evaluate, image_scores
from analysis.detection.plot_images import plot_scores
from analysis.experiments import of_any_model, of_any_stream, several_runs
from analysis.live import DOTS, Live, State, step_slider
from analysis.pictures.conclude import pick_images
from analysis.pictures.measure import measure_maps, read_pictures
from analysis.pictures.plot import plot_maps
from analysis.rows import chosen
from analysis.scoring import Scoring
from analysis.style import LABELS, dotted_line
from analysis.words import label_of
from cl_flow.calls import checked
from cl_flow.runs.run import Run

SIZE = (12.8, 4.6)  # inches
CAPTION_LETTERS = 48  # in a line


@checked
@of_any_model
@of_any_stream
def explore(
    runs: Run | Sequence[Run],
    *,
    image: Sequence[str] | None = None,
    n: int = 3,
    scoring: Scoring = Scoring(),
) -> "Explorer":
    """Move through the snapshots of runs with sliders.

    Tables are measured first, or read where they are cached. While an image is looked
    at, its other steps are drawn ahead, so that the slider need not wait for them. The
    last line of a cell shows it.

    Args:
        runs: One run, or several of the same images.
        image: Names `category/defect/file`, or categories for all of their images; by
            default what each category forgot most.
        n: So many images of each category, by default.
        scoring: Parts to choose from, and classes that are given.

    Returns:
        A box of controls over a picture; `figure()` gives the picture as a figure of
        its own, for `save_figure`.

    Raises:
        ValueError: No run, or runs of other images.
        KeyError: An image that the runs do not have.

    Example:
        >>> explorer = explore(run, n=1)
        >>> picture = explorer.figure()
    """
    runs = several_runs(explore, runs)
    scores = image_scores(runs, scoring=scoring)
    names = _names(runs[0], scores, n, scoring) if image is None else list(image)
    maps = pd.concat(
        [
            measure_maps(
                runs, image=names, part=scoring.part, given=given, scoring=scoring
            )
            for given in scoring.given
        ],
        ignore_index=True,
    )
    evaluated = evaluate(runs, scoring=scoring)
    return Explorer(maps, read_pictures(runs[0], names), scores, evaluated)


def _names(run: Run, scores: pd.DataFrame, n: int, scoring: Scoring) -> list[str]:
    """What each category forgot most; all of one whose test images have one label."""
    own = scores[scores["run"] == run.name]
    given = str(scoring.given[0])
    part = "product" if "product" in scoring.part else scoring.part[0]
    out = []
    for name, rows in own.groupby("category", sort=False):
        if rows["label"].nunique() < 2:  # nothing to tell apart
            images = rows["image"].unique()[:n]
            out += [f"{name}/{image}" for image in images]
        else:
            picked = pick_images(own, n=n, category=name, part=part, given=given)
            out += list(picked["name"])
    return out


def plot_moment(
    maps: pd.DataFrame,
    pictures: pd.DataFrame,
    scores: pd.DataFrame,
    *,
    evaluated: pd.DataFrame | None = None,
    name: str,
    step: int,
    part: str = "product",
    given: str = "category",
    figure: Figure | None = None,
) -> Figure:
    """One image under one snapshot: its map, and where its score stands.

    How to read it: the map shows where the model sees the anomaly; the dotted line is
    the image's score among those of its category's other test images. Under it stand
    the category's metrics by the same model.

    Args:
        maps: Of `measure_maps`, of one run.
        pictures: Of `read_pictures`.
        scores: Of `image_scores`, of the same run.
        evaluated: Of `evaluate`, of the same run, for the metrics beneath; without it
            there are none.
        name: The image, as in `maps`.
        step: Index of the last task learned.
        part: Score part.
        given: `"category"` or `"None"`.
        figure: Where to draw; a new figure by default.
    """
    figure = figure or Figure(figsize=SIZE, dpi=DOTS, layout="constrained")
    one = chosen(maps, name=name, step=step, part=part, given=given)
    ((left, right),) = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.3, 1))
    plot_maps(one, pictures[pictures["name"] == name], figure=left)
    ax = right.subplots()
    (category,) = one["category"]
    plot_scores(scores, category, ax=ax, step=step, part=part, given=given)
    dotted_line(ax, x=one["score"].iloc[0])
    if evaluated is not None:
        moment = {"category": category, "step": step, "part": part, "given": given}
        right.supxlabel(_caption(chosen(evaluated, **moment)), size=14)
    return figure


def _caption(evaluated: pd.DataFrame) -> str:
    """Every metric that has a value, with it, in lines that fit the picture."""
    defined = evaluated.dropna(subset="value")
    values = zip(defined["metric"], defined["value"])
    told = " · ".join(f"{label_of(name)} {value:.3f}" for name, value in values)
    return textwrap.fill(told, CAPTION_LETTERS)


class Explorer(Live):
    """Controls over a picture of one image under one snapshot.

    Args:
        maps: Of `measure_maps`, of one run or several.
        pictures: Of `read_pictures`.
        scores: Of `image_scores`.
        evaluated: Of `evaluate`.
    """

    def __init__(
        self,
        maps: pd.DataFrame,
        pictures: pd.DataFrame,
        scores: pd.DataFrame,
        evaluated: pd.DataFrame,
    ) -> None:
        self._maps = maps
        self._pictures = pictures
        self._scores = scores
        self._evaluated = evaluated
        self._is_settling = False
        names = list(pictures["name"])
        self.run = _dropdown("run", list(maps["run"].unique()))
        self.category = _dropdown("category", list(pictures["category"].unique()))
        self.image = _dropdown("image", names)
        self.part = _toggle(
            "score", {LABELS.get(one, one): one for one in maps["part"].unique()}
        )
        if "product" in set(maps["part"]):
            self.part.value = "product"
        self.given = _toggle(
            "under",
            {
                "its own class" if one == "category" else "the likeliest class": one
                for one in maps["given"].unique()
            },
        )
        choices = (self.run, self.category, self.image, self.part, self.given)
        shown = [one for one in choices if len(one.options) > 1]
        step = step_slider()
        super().__init__([widgets.HBox(shown, layout=WRAPPED), step], step=step)
        self._choose_category()
        self._choose_steps()
        self.category.observe(lambda change: self._choose_category(), "value")
        for one in (self.run, self.image):
            one.observe(lambda change: self._choose_steps(), "value")
        for one in (self.step, self.part, self.given):
            one.observe(lambda change: self._show(), "value")

    def _state(self) -> State:
        values = {
            "run": self.run.value,
            "name": self.image.value,
            "step": self.step.value,
            "part": self.part.value,
            "given": self.given.value,
        }
        return tuple(values.items())

    def _figure(self, state: State) -> Figure:
        choice = dict(state)
        run = choice.pop("run")
        maps, scores, evaluated = (
            table[table["run"] == run]
            for table in (self._maps, self._scores, self._evaluated)
        )
        return plot_moment(maps, self._pictures, scores, evaluated=evaluated, **choice)

    def _choose_category(self) -> None:
        """Offer the images of the category, and take the first."""
        rows = self._pictures["category"] == self.category.value
        names = self._pictures.loc[rows, "name"]
        self.image.options = [(name.partition("/")[2], name) for name in names]

    def _choose_steps(self) -> None:
        """Offer the steps that know the image, and stay at the one shown."""
        rows = self._maps["name"] == self.image.value
        rows &= self._maps["run"] == self.run.value
        steps = sorted(self._maps.loc[rows, "step"].unique().tolist())
        before = self.step.value
        if not steps:
            return
        self._is_settling = True  # new options take their first, which nobody asked for
        self.step.options = [(str(step + 1), step) for step in steps]
        self.step.value = before if before in steps else steps[-1]
        self._is_settling = False
        self._show()

    def _show(self) -> None:
        if not self._is_settling:
            super()._show()


WRAPPED = widgets.Layout(flex_flow="row wrap")


def _dropdown(description: str, options: list[str]) -> widgets.Dropdown:
    return widgets.Dropdown(options=options, description=description)


def _toggle(description: str, options: dict[Any, str]) -> widgets.ToggleButtons:
    buttons = widgets.ToggleButtons(
        options=list(options.items()), description=description
    )
    buttons.style.button_width = "auto"
    return buttons
