"""One call on one run.

What was forgotten, where the AUROC went, and the tables and figures that say so.
"""

__all__ = ["HEADINGS", "Report", "diagnose"]

import dataclasses
import html
import io
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import pandas as pd
from matplotlib.figure import Figure

from analysis.contrasts import defined
from analysis.experiments import (
    expect_suited,
    key_columns,
    refuse_unlike_runs,
    several_runs,
)
from analysis.intervals import Resampling
from analysis.judgement.conclude import evidence, training_rows, verdicts
from analysis.judgement.measure import training_witness
from analysis.judgement.plot import plot_evidence
from analysis.judgement.say import sentence_of
from analysis.ledger.conclude import (
    ledger_families,
    ledger_shapley,
    ledger_shares,
    ledger_terms,
    transplant_levels,
)
from analysis.ledger.measure import learnt_before, measure_ledger
from analysis.ledger.moves import transport
from analysis.ledger.plot import plot_families, plot_ledger, plot_waterfall
from analysis.ledger.plot_moves import plot_transplant, plot_transport, plot_volume
from analysis.ledger.say import reading_of_refits
from analysis.ledger.transplants import transplant
from analysis.pages import styled
from analysis.rows import chosen, noting_sources, of_tables
from analysis.scoring import Scoring
from analysis.style import save_figure, slides_beneath
from analysis.words import counted
from cl_flow.align.refits import FAMILIES
from cl_flow.calls import refuse_unknown
from cl_flow.paths import atomic
from cl_flow.runs.run import Run
from cl_flow.scoring.scores import PARTS

THEME = (
    "color: var(--jp-content-font-color1, #222); background: var(--jp-layout-color1, "
    "#fff); "
    "border: 1px solid var(--jp-border-color2, #ccc); border-radius: 4px; padding: "
    "0.6em 1em;"
)
QUIET = "color: var(--jp-content-font-color2, #555);"
HEADINGS = {
    "verdicts": "The verdict on each task, and how sure it is",
    "evidence": "What each witness brings back of it",
    "total": "The drop of all earlier tasks in its terms",
    "terms": "The drop of each task in its terms",
    "categories": "The same by category",
    "shares": "Which share of it is spurious",
    "players": "Who caused it: flow, centers, competitors (Shapley values)",
    "families": "How far refitted centers bring it back",
    "transplants": "Where in the flow",
    "moves": "How the flow moved each class",
}


@overload
def diagnose(run: Run, **options: Any) -> "Report": ...
@overload
def diagnose(run: Iterable[Run], **options: Any) -> pd.DataFrame: ...
@of_tables
def diagnose(
    run: Run | Iterable[Run],
    *,
    after: int = -1,
    part: str = "product",
    given: str | None = "category",
    family: str = "full",
    tasks: Sequence[int] | None = None,
    train: bool | None = None,
    recovered: pd.DataFrame | None = None,
    scoring: Scoring = Scoring(),
    resampling: Resampling = Resampling(),
) -> "Report | pd.DataFrame":
    """Take the forgetting of a run apart, and say what became of its earlier tasks.

    Every witness is heard: later classes taken out of the competition, old centers,
    refitted centers, and a few training steps on the first task beside a model that
    never learned it. A run that was copied from another machine is diagnosed as
    `diagnose(Run("path", root="its images here"))`.

    Args:
        run: A run that learns task after task and keeps its centers; or several, of
            several strategies, options or seeds.
        after: The step to diagnose: index of the last task learned, or counted from the
            end.
        part: Score part that the verdict and the figures are about; the tables hold
            all.
        given: `"category"`, or None for the likeliest class.
        family: The refit that alignment means (`cl_flow.align.refits.FAMILIES`).
        tasks: Which earlier tasks; all by default.
        train: Whether to train the model that never learned the first task, where it is
            not there yet: None if that takes less than two minutes (else an untrained
            one stands in), and there is a drop to explain; True always. False tries no
            training at all.
        recovered: A table of `recovery` on this run, to be heard instead.
        scoring: Normalisation and size of the scores; its other fields are not used.
        resampling: Of the test images.

    Returns:
        The report on a run; of several a table, one row per run and task: the columns
        of `verdicts`, and the `sentence`.

    Raises:
        KeyError: An unknown part, class or family.
        ValueError: A task that is no earlier one, or the recovery is another run's.

    Example:
        >>> from analysis.judgement import VERDICTS
        >>> report = diagnose(run, train=False)
        >>> report.verdict in VERDICTS
        True
    """
    several = several_runs(diagnose, run)
    asked = _Asked(after, part, given, family, tasks, train, scoring, resampling)
    expect_suited(diagnose, *several)
    for one in several:
        asked.places(one)
    if isinstance(run, Run):
        return asked.report(run, recovered)
    if recovered is not None:
        raise ValueError(
            "Expected a recovery with a single run; got several runs. Leave it out: "
            "each run's own is measured."
        )
    refuse_unlike_runs(several, options=False)
    return pd.concat([asked.row(one) for one in several], ignore_index=True)


@dataclass(frozen=True)
class _Asked:
    """What `diagnose` was asked, of any run."""

    after: int
    part: str
    given: str | None
    family: str
    tasks: Sequence[int] | None
    train: bool | None
    scoring: Scoring
    resampling: Resampling

    def __post_init__(self) -> None:
        refuse_unknown("part", self.part, PARTS)
        refuse_unknown("class", self.given, ("category", None))
        refuse_unknown("family", self.family, FAMILIES)

    def places(self, run: Run) -> dict[int, int]:
        """Step at which each task in question was learned, by `learnt_before`."""
        return learnt_before(run, run[self.after].step, self.tasks)

    def check(self, recovered: pd.DataFrame, run: Run) -> None:
        """Refuse a recovery that is another run's, or lacks what is to be heard."""
        if set(recovered["run"]) != {run.name}:
            names = ", ".join(sorted(set(recovered["run"])))
            raise ValueError(f"Expected a recovery of {run.name}; got that of {names}.")
        if self.given is not None and 0 in self.places(run):
            where = {"strategy": run.strategy, "step": run[self.after].step}
            training_rows(recovered, where, {run.name}, part=self.part)

    @property
    def where(self) -> dict[str, Any]:
        tasks = None if self.tasks is None else tuple(self.tasks)
        return {"after": self.after, "tasks": tasks}

    @property
    def every_part(self) -> Scoring:
        return dataclasses.replace(
            self.scoring, metric="image_auroc", given=(self.given,)
        )

    @property
    def one_part(self) -> Scoring:
        return dataclasses.replace(self.every_part, part=self.part, given="category")

    def judged(
        self, run: Run, measured: pd.DataFrame, recovered: pd.DataFrame | None
    ) -> dict[str, pd.DataFrame]:
        """The verdicts and their evidence, and the recovery where training is tried."""
        options: dict[str, Any] = {
            "part": self.part,
            "given": str(self.given),
            "family": self.family,
            "resampling": self.resampling,
        }
        found = verdicts(measured, recovered, **options)
        if recovered is None and self.asks_training(found):
            recovered = training_witness(
                run, after=self.after, train=self.train, scoring=self.one_part
            )
            found = verdicts(measured, recovered, **options)
        tables = {
            "verdicts": found,
            "evidence": evidence(measured, recovered, **options),
        }
        return tables if recovered is None else {**tables, "recovery": recovered}

    def asks_training(self, found: pd.DataFrame) -> bool:
        """Whether training has anything to say: of the first task, and of a drop."""
        first = found[found["task"] == 0]
        is_open = self.given is not None and bool((first["low"] > 0).any())
        return len(first) > 0 and (is_open or self.train is True)

    def row(self, run: Run) -> pd.DataFrame:
        """The verdicts on a run beside those on others."""
        measured = measure_ledger(
            run, family=(self.family,), scoring=self.every_part, **self.where
        )
        tables = self.judged(run, measured, None)
        found = tables["verdicts"]
        said = [
            sentence_of(found, tables["evidence"], task=task) for task in found["task"]
        ]
        rows = found.drop(columns="strategy").assign(sentence=said)
        return key_columns(rows, run)

    def report(self, run: Run, recovered: pd.DataFrame | None) -> "Report":
        if recovered is not None:
            self.check(recovered, run)
        measured = measure_ledger(run, scoring=self.every_part, **self.where)
        first = int(defined(measured)["task"].min())
        family = self.family
        drawn: dict[str, Any] = {"resampling": self.resampling}
        by_category = ledger_terms(measured, family=family, by="category", **drawn)
        hybrids = transplant(
            run, after=self.after, tasks=(first,), scoring=self.one_part
        )
        tables = {
            **self.judged(run, measured, recovered),
            "total": ledger_terms(measured, family=family, by="all", **drawn),
            "terms": ledger_terms(measured, family=family, **drawn),
            "categories": by_category,
            "shares": ledger_shares(measured, family=family, **drawn),
            "players": ledger_shapley(measured, **drawn),
            "families": ledger_families(measured, by="all", **drawn),
            "transplants": hybrids,
            "moves": transport(run, **self.where),
            "ledger": measured,
        }
        return Report(run, tables, task=first, part=self.part, given=str(self.given))


@dataclass(frozen=True)
class Report:
    """Report of `diagnose`.

    Args:
        run: The run.
        tables: `verdicts evidence total terms categories shares players families
            transplants moves`, the `ledger` they come from, and the `recovery` where
            training was tried.
        task: Index of the first task that is diagnosed, which the verdict is on.
        part: Score part that verdict and figures are about.
        given: `"category"` or `"None"`.

    Example:
        >>> report = diagnose(run, train=False)
        >>> sorted(report.tables)[:3]
        ['categories', 'evidence', 'families']
    """

    run: Run
    tables: dict[str, pd.DataFrame]
    task: int = 0
    part: str = "product"
    given: str = "category"

    @property
    def verdict(self) -> str:
        """What became of the first task: a key of `VERDICTS`."""
        rows = self.tables["verdicts"]
        return chosen(rows, task=self.task)["verdict"].item()

    @property
    def sentence(self) -> str:
        """The verdict and why, in a sentence of at most 25 words."""
        return sentence_of(
            self.tables["verdicts"], self.tables["evidence"], task=self.task
        )

    def figures(self) -> dict[str, Figure]:
        """Draw the figures, by name.

        They are none of pyplot's: whether a notebook shows those is left as it is.
        Your settings of matplotlib hold; what you have not set is as on slides.

        `evidence`, `waterfall`, `categories`, `families`, `transplants`, `transport`.
        """
        with slides_beneath():
            return {
                "evidence": self._evidence(),
                "waterfall": self._waterfall(),
                "categories": self._single(plot_ledger, "categories"),
                "families": self._families(),
                "transplants": self._transplants(),
                "transport": self._transport(),
            }

    def save(self, folder: str | Path) -> list[Path]:
        """Write the report, its figures and its tables into a folder.

        `report.html`, every figure (PDF, SVG, PNG) and every table (Parquet).
        """
        folder = Path(folder)
        paths = [
            folder / "report.html",
            *(folder / f"{name}.parquet" for name in self.tables),
        ]
        with atomic(paths[0]) as temporary:
            temporary.write_text(
                f"<!DOCTYPE html><meta charset='utf-8'>{self._repr_html_()}",
                encoding="utf-8",
            )
        for path, frame in zip(paths[1:], self.tables.values()):
            with atomic(path) as temporary:
                frame.to_parquet(temporary)
        facts = {
            "run": self.run.name,
            "verdict": self.verdict,
            "part": self.part,
            "given": self.given,
        }
        for name, figure in self.figures().items():
            paths += save_figure(figure, name, folder, facts=facts)
        return paths

    # ---- looks

    def __repr__(self) -> str:
        return f"Report({self.run.name}: {self.verdict})"

    def _repr_html_(self) -> str:
        word = html.escape(self.verdict)
        source = html.escape(self.run.source)
        sentence = html.escape(self.sentence)
        tables = "".join(
            _folded(HEADINGS[name], noting_sources(self._shown(name), self.run))
            for name in HEADINGS
        )
        with slides_beneath():
            pictures = _inline(self._evidence()) + _inline(self._waterfall())
        return (
            f'<div style="{THEME}"><p><b>{html.escape(self.run.name)}</b>: '
            f"<b>{word}</b> "
            "<span "
            f'style="{QUIET}">({html.escape(self.part)}) {source}</span></p>'
            f"<p>{sentence}</p>{pictures}{tables}</div>"
        )

    def _shown(self, name: str) -> pd.DataFrame:
        """A table as it is shown.

        Of the part at hand, without what the heading says already.
        """
        frame = self.tables[name].drop(
            columns=["labels", "scores", "run"], errors="ignore"
        )
        for column, value in (("part", self.part), ("given", self.given)):
            frame = frame[frame[column] == value] if column in frame else frame
        if name == "transplants":
            keys = ["task", "side", "centers", "blocks"]
            return (
                frame.groupby(keys, sort=False)["value"].mean().unstack().reset_index()
            )
        if name == "moves":
            keys = ["task", "category", "quantity"]
            return (
                frame.groupby(keys, sort=False)["value"].mean().unstack().reset_index()
            )
        return frame.drop(
            columns=["strategy", "seed", "step", "part", "given"], errors="ignore"
        )

    def _evidence(self) -> Figure:
        figure = Figure()
        ax = figure.subplots()
        plot_evidence(self.tables["evidence"], task=self.task, ax=ax)
        ax.set_title(f"task {counted(self.task)}: {self.verdict}")
        return figure

    def _waterfall(self) -> Figure:
        figure = Figure()
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        options: dict[str, Any] = {"part": self.part, "given": self.given}
        plot_waterfall(self.tables["total"], ax=left, **options)
        left.set_title("mean of the earlier tasks")
        plot_ledger(self.tables["terms"], ax=right, legend=False, **options)
        right.set_title("each of them")
        named = right.get_legend_handles_labels()
        figure.legend(*named, loc="outside lower center", ncols=5)
        return figure

    def _single(self, plot: Any, table: str) -> Figure:
        figure = Figure()
        ax = figure.subplots()
        plot(self.tables[table], part=self.part, given=self.given, ax=ax)
        return figure

    def _families(self) -> Figure:
        figure = self._single(plot_families, "families")
        total = self.tables["total"]
        told = reading_of_refits(total, part=self.part, given=self.given)
        figure.suptitle(told)
        return figure

    def _transplants(self) -> Figure:
        figure = Figure()
        ax = figure.subplots()
        rows = self.tables["transplants"]
        plot_transplant(transplant_levels(rows), part=self.part, ax=ax)
        ax.set_title(f"task {counted(rows['task'].iloc[0])}")
        return figure

    def _transport(self) -> Figure:
        figure = Figure()
        axes = figure.subplots(1, 2)
        plot_transport(self.tables["moves"], ax=axes[0], legend=False)
        plot_volume(self.tables["moves"], ax=axes[1], legend=False)
        for ax in axes:
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
        return figure


def _folded(heading: str, frame: pd.DataFrame) -> str:
    table = styled(frame).to_html()
    return f"<details><summary>{html.escape(heading)}</summary>{table}</details>"


def _inline(figure: Figure) -> str:
    """The figure within the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    data = b64encode(buffer.getvalue()).decode()
    return f'<img style="max-width: 100%" src="data:image/png;base64,{data}">'
