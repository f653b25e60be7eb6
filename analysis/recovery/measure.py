"""Recovery measured: a few steps on a few images of the first task.

With controls that tell reminding from teaching.
"""

__all__ = [
    "COLUMNS",
    "PROBES",
    "UPDATES",
    "Trial",
    "few_shots",
    "never_learned_config",
    "measure_recovery",
    "recovery_curve",
    "refuse_steps",
    "retrain_",
    "step_meanings",
    "step_rates",
]

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.experiments import expect_suited, table
from analysis.scoring import Scoring, measure, task_of, under_true_class
from cl_flow.calls import checked, refuse_unknown
from cl_flow.data.features import Features, union
from cl_flow.devices import pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.progress import Bar
from cl_flow.registry import Registry
from cl_flow.runs.config import RunConfig
from cl_flow.runs.fitting import fit
from cl_flow.runs.run import Run
from cl_flow.training.config import TrainConfig
from cl_flow.training.loop import rate_share, train

# Of a table of recovery, before its values.
COLUMNS = [
    "step",
    "probe",
    "update",
    "shots",
    "lr",
    "n_steps",
    "task",
    "category",
    "metric",
    "part",
]
HGAD_PASSES = 8  # of a meta-epoch
UPDATES = {
    "both": ("flow", "mixture"),
    "centers": ("mixture",),
    "means": ("main centers",),
    "flow": ("flow",),
}


# ---- probes: who is trained on whose images


class Trial(NamedTuple):
    """One model to train a little.

    Args:
        model: A new copy.
        taught: Categories whose images it is trained on.
        tested: Categories it is tested on along the way.
    """

    model: FlowModel
    taught: tuple[str, ...]
    tested: tuple[str, ...]


PROBES: Registry = Registry("probe")


@PROBES
def forgotten(run: Run, step: int) -> Iterator[Trial]:
    """The model after a later task, on images of the first.

    Tested on both.
    """
    yield Trial(
        run[step].model(pick_device()), run.tasks[0], run.tasks[0] + run.tasks[step]
    )


@PROBES
def never_learned(run: Run, step: int) -> Iterator[Trial]:
    """Model trained on the later tasks only.

    With new centers for the first: what these steps teach anyone.
    """
    control = fit(never_learned_config(run), folder=run.folder.parent)
    model = control[step - 1].model(pick_device())
    yield Trial(model.expand_(run.tasks[0]), run.tasks[0], run.tasks[0])


@PROBES
def untrained(run: Run, step: int) -> Iterator[Trial]:
    """A model that has learned nothing, with a center for every class."""
    model = run[step].model(pick_device()).fresh()
    for names in run.tasks[: step + 1]:
        model.expand_(names)
    yield Trial(model, run.tasks[0], run.tasks[0])


@PROBES
def sham(run: Run, step: int) -> Iterator[Trial]:
    """The forgotten model on as many images of the newest task.

    What any training does.
    """
    yield Trial(
        run[step].model(pick_device()), run.tasks[step], run.tasks[0] + run.tasks[step]
    )


@PROBES
def held_out(run: Run, step: int) -> Iterator[Trial]:
    """Forgotten model, tested on a category that it is not reminded of.

    It is trained on the others of the first task; each in turn.
    """
    for name in run.tasks[0]:
        others = tuple(other for other in run.tasks[0] if other != name)
        if others:
            yield Trial(run[step].model(pick_device()), others, (name,))


def never_learned_config(run: Run) -> RunConfig:
    """Config of the same run without the first task."""
    return run.config.replace(
        stream=dataclasses.replace(run.config.stream, without=run.tasks[0])
    )


# ---- the experiment


@table
def measure_recovery(
    run: Run,
    *,
    after: Sequence[int] = (1, -1),
    probe: Sequence[str] = tuple(PROBES),
    update: Sequence[str] = ("both",),
    shots: Sequence[int] = (5,),
    steps: Sequence[int] = (0, 1, 3, 10, 30, 100),
    lr: Sequence[str | float] = ("peak",),
    seed: int = 0,
    scoring: Scoring = Scoring(metric="image_auroc", part="product"),
) -> pd.DataFrame:
    """Train a few steps on a few images of the first task, and score.

    Beside controls.

    How to read it: `forgotten` that rises faster than `never_learned` was reminded; as
    fast, it was taught. `held_out` is tested on a category that the steps never saw,
    `sham` trained on images of the newest task, whose own rows under `forgotten` are
    the cost.

    Args:
        run: One run, or many, that learn task after task. The never-learned model is a
            run of its own, trained when it is missing.
        after: Steps of the run to start from: index of the last task learned, 1 or
            more, or counted from the end.
        probe: Names in `PROBES`.
        update: `"both"`, `"centers"` (the mixtures only), `"means"` (the main centers
            only) or `"flow"`.
        shots: Normal training images per category; the fewer are among the more.
        steps: Numbers of optimizer steps to test after; one training serves them all.
        lr: Constant learning rates: numbers, or names in `step_rates`.
        scoring: How to score and measure, under the true class; few images to calibrate
            on halve the time.
        seed: Seeds the choice of images and the batches.

    Returns:
        One row per `step probe update shots lr n_steps task category metric part`, with
        its `value` and, for image metrics, the `labels` and `scores` of the images. The
        probe `learned` is the first task just learned, at no rate (0).

    Example:
        >>> recovered = measure_recovery(run, steps=(0, 1, 3))
        >>> sorted(set(recovered["n_steps"]))
        [0, 1, 3]
    """
    refuse_unknown("probe", probe, PROBES)
    refuse_unknown("update", update, UPDATES)
    refuse_steps(steps)
    places = _places(run, after)
    rates = _numbers(run, lr)
    _refuse_shots(run, probe, places, shots)
    scoring = under_true_class(scoring).sized(run.config.features.image_size)
    first = run[0].model(pick_device())
    learned = measure(first, run.features, run.tasks[0], scoring=scoring)
    nothing = {"update": "none", "shots": 0, "lr": 0.0, "n_steps": 0}
    frames = [learned.assign(step=t, probe="learned", **nothing) for t in places]
    grid = list(product(places, probe, update, shots, rates))
    title = f"recovering {run.name}"
    for step, name, what, n, rate in Bar(grid, desc=title, unit="curve"):
        keys = {"step": step, "probe": name, "update": what, "shots": n, "lr": rate}
        for trial in PROBES[name](run, step):
            images = few_shots(run.features, trial.taught, n, seed=seed)
            curve = recovery_curve(
                trial,
                run.features,
                images,
                run.config.train,
                update=what,
                steps=steps,
                lr=rate,
                seed=seed,
                scoring=scoring,
            )
            frames.append(curve.assign(**keys))
    rows = pd.concat(frames, ignore_index=True)
    rows["task"] = [task_of(run, name) for name in rows["category"]]
    return rows[[*COLUMNS, "value", "labels", "scores"]]


def _places(run: Run, after: Sequence[int]) -> list[int]:
    """The steps to start from, each once.

    Every model there has to know the first task's categories.
    """
    places = sorted({run[step].step for step in after})
    first = set(run.tasks[0])
    if set(run[0].categories) != first or not all(
        first < set(run[step].categories) for step in places
    ):
        raise ValueError(
            "Expected a run that learns task after task and keeps its centers, and "
            f"steps after the first; got {run.name} and steps {places}."
        )
    return places


def refuse_steps(steps: Sequence[int]) -> None:
    """Refuse numbers of optimizer steps below 0.

    Raises:
        ValueError: One of them is.
    """
    if min(steps) < 0:
        raise ValueError(
            f"Expected numbers of optimizer steps of 0 or more; got {min(steps)}."
        )


def _refuse_shots(
    run: Run, probe: Sequence[str], places: Sequence[int], shots: Sequence[int]
) -> None:
    """Refuse more images of a category than those who are trained on it have."""
    taught = set(run.tasks[0])
    if "sham" in probe:
        taught.update(*(run.tasks[step] for step in places))
    for n in shots:
        few_shots(run.features, sorted(taught), n)


def _numbers(run: Run, lr: Sequence[str | float]) -> list[float]:
    """Learning rates as numbers, each once."""
    known = step_rates(run)
    refuse_unknown("rate", [one for one in lr if isinstance(one, str)] or "peak", known)
    numbers = [known[one] if isinstance(one, str) else one for one in lr]
    return list(dict.fromkeys(numbers))


def recovery_curve(
    trial: Trial,
    features: Features,
    images: Features,
    config: TrainConfig,
    *,
    update: str = "both",
    steps: Sequence[int],
    lr: float | None = None,
    seed: int = 0,
    scoring: Scoring = Scoring(metric="image_auroc", part="product"),
) -> pd.DataFrame:
    """Measurements of one trial after each number of steps.

    Args:
        trial: Whom to train; its model changes.
        features: Images to calibrate and test on.
        images: Images to train on.
        config: The run's training.
        update: Name in `UPDATES`.
        steps: Numbers of optimizer steps to test after.
        lr: As in `retrain_`.
        seed: Seeds the batches.
        scoring: How to score and measure.

    Returns:
        The columns of `measure`, and `n_steps`.
    """
    frames = []
    wanted = set(steps)

    def look(n_steps: int, model: FlowModel) -> None:
        if n_steps in wanted:
            rows = measure(model, features, trial.tested, scoring=scoring)
            frames.append(rows.assign(n_steps=n_steps))

    retrain_(
        trial.model,
        images,
        config,
        update=update,
        n_steps=max(steps),
        lr=lr,
        seed=seed,
        watch=look,
    )
    return pd.concat(frames, ignore_index=True)


def retrain_(
    model: FlowModel,
    images: Features,
    config: TrainConfig,
    *,
    update: str = "both",
    n_steps: int,
    lr: float | None = None,
    seed: int = 0,
    watch: Callable[[int, FlowModel], None] | None = None,
) -> FlowModel:
    """Train a model in place at a constant rate.

    Under all of its losses; what is not updated keeps its bits.

    Args:
        model: The model.
        images: Normal training images, of categories that it has a center for.
        config: The run's training: batch, Adam, losses.
        update: Name in `UPDATES`.
        n_steps: Optimizer steps, rounded up to whole passes over the images.
        lr: Learning rate; the config's peak by default.
        seed: Seeds the batches.
        watch: As in `cl_flow.training.loop.train`.
    """
    refuse_unknown("update", update, UPDATES)
    for level in model.levels:
        level.flow.requires_grad_("flow" in UPDATES[update])
        level.mixture.requires_grad_("mixture" in UPDATES[update])
        if "main centers" in UPDATES[update]:
            for block in level.mixture.blocks():
                block["mu"].requires_grad_(True)
    per_epoch = max(1, len(images) // config.batch_images)
    constant = dataclasses.replace(
        config,
        epochs=-(-n_steps // per_epoch),
        lr=config.lr if lr is None else lr,
        warmup=0.0,
        final_lr=1.0,
        inter_only=0.0,
    )
    train(model, images, constant, watch=watch, seed=seed, progress=False)
    return model


@checked
def step_rates(run: Run) -> dict[str, float]:
    """Learning rates that few-shot training may have, by the run's own schedule.

    Args:
        run: The run, of whose first task the schedule is taken.

    Returns:
        Rates by the names `peak`, `mean` and `last`: the highest, that of an average
        step, and what the schedule ends with.

    Example:
        >>> sorted(step_rates(run))
        ['last', 'mean', 'peak']
    """
    expect_suited(step_rates, run)
    config = run.config.train
    n_images = len(run.features.where(split="train", label=0, category=run.tasks[0]))
    n_steps = config.epochs * max(1, n_images // config.batch_images)
    shares = [rate_share(step, n_steps, config) for step in range(n_steps)]
    return {
        "peak": config.lr,
        "mean": config.lr * float(np.mean(shares)),
        "last": config.lr * shares[-1],
    }


@checked
def step_meanings(run: Run, *, shots: int) -> dict[str, int]:
    """Optimizer steps that one step of few-shot training may mean.

    The slides do not say which: a batch, a pass over the few images, or a meta-epoch,
    which is as many passes as a stair of the run's schedule has, else HGAD's 8.

    Args:
        run: The run, of which the batch and the schedule are taken.
        shots: Normal training images per category of the first task.

    Returns:
        Steps by the names `batch`, `pass` and `meta-epoch`.

    Example:
        >>> step_meanings(run, shots=5)
        {'batch': 1, 'pass': 2, 'meta-epoch': 16}
    """
    expect_suited(step_meanings, run)
    config = run.config.train
    per_pass = max(1, shots * len(run.tasks[0]) // config.batch_images)
    passes = HGAD_PASSES
    if config.staircase is not None:
        passes = max(1, config.epochs // config.staircase)
    return {"batch": 1, "pass": per_pass, "meta-epoch": passes * per_pass}


def few_shots(
    features: Features, categories: Sequence[str], n: int, *, seed: int = 0
) -> Features:
    """`n` normal training images of each category, drawn without replacement.

    Fewer are the first of more.
    """
    parts = []
    for category in categories:
        images = features.where(split="train", label=0, category=category)
        if not 1 <= n <= len(images):
            raise ValueError(
                f"Expected 1 to {len(images)} shots of {category}, its training "
                f"images; got {n}."
            )
        order = np.random.default_rng([seed, *category.encode()]).permutation(
            len(images)
        )
        parts.append(images.take(order[:n]))
    return union(parts)
