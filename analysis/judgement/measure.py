"""Training as a witness: a few steps, beside a model that never learned the task."""

__all__ = [
    "CHEAP",
    "control_seconds",
    "planted_recovery",
    "recovery_of_ill",
    "training_witness",
]

import logging
import math
from collections.abc import Sequence

import pandas as pd

from analysis.experiments import expect_suited, table
from analysis.ledger.illnesses import ILLNESSES, harmed, refuse_illness
from analysis.recovery.measure import (
    COLUMNS,
    Trial,
    few_shots,
    measure_recovery,
    never_learned_config,
    recovery_curve,
    refuse_steps,
)
from analysis.scoring import Scoring, measure, under_true_class
from cl_flow.calls import checked
from cl_flow.data.features import Features
from cl_flow.devices import pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.progress import Bar
from cl_flow.runs.run import Run
from cl_flow.training.config import TrainConfig

log = logging.getLogger(__name__)

CHEAP = 120.0  # seconds of training that nobody minds
STEPS = (0, 1, 2, 3, 5, 10, 30, 100)
SHOTS = 5


@checked
def control_seconds(run: Run) -> float:
    """How long the control of a run takes to train: the run without its first task.

    It is 0 where the control is on disk, else what the run itself took for its later
    tasks: infinite where that is not known, as of tasks that were imported.

    Example:
        >>> control_seconds(run) < 120
        True
    """
    expect_suited(control_seconds, run)
    control = Run.find(never_learned_config(run), folder=run.folder.parent)
    if control is not None and control.is_complete:
        return 0.0
    seconds = [step["seconds"] for step in run.facts["steps"][1:]]
    return math.inf if None in seconds else sum(seconds)


@checked
def training_witness(
    run: Run,
    *,
    after: int = -1,
    train: bool | None = None,
    seed: int = 0,
    scoring: Scoring = Scoring(metric="image_auroc", part="product"),
) -> pd.DataFrame | None:
    """Recovery of the first task, as far as it is cheap.

    The control is a model that never learned the task. Where its training would take
    longer than two minutes, an untrained model stands in for it.

    Args:
        run: A run that learns task after task and keeps its centers.
        after: The step to start from.
        train: Whether to train a control that is missing: None where that is cheap,
            True always; False tries no training at all.
        seed: Seeds the choice of images and the batches.
        scoring: How to score and measure.

    Returns:
        A table of `measure_recovery` with the probe `forgotten` and one control; None
        if no training is wanted.

    Example:
        >>> sorted(set(training_witness(run, train=True)["probe"]))
        ['forgotten', 'learned', 'never_learned']
    """
    expect_suited(training_witness, run)
    if train is False:
        return None
    seconds = control_seconds(run)
    is_cheap = train or seconds <= CHEAP
    control = "never_learned" if is_cheap else "untrained"
    if not is_cheap:
        log.info(
            "%s: a model that never learned task 1 takes about %.0f s to train; an "
            "untrained one stands in. train=True trains it, train=False skips both",
            run.name,
            seconds,
        )
    elif seconds:
        log.info(
            "%s: training a model that never learned task 1 takes about %.0f s; "
            "train=False skips it",
            run.name,
            seconds,
        )
    return measure_recovery(
        run,
        after=(after,),
        probe=("forgotten", control),
        shots=(_shots(run),),
        steps=STEPS,
        seed=seed,
        scoring=scoring,
    )


def _shots(run: Run) -> int:
    """As many images of each category as the smallest can give."""
    training = run.features.where(split="train", label=0, category=list(run.tasks[0]))
    return min(SHOTS, int(training.samples["category"].value_counts().min()))


@table
def planted_recovery(
    run: Run,
    *,
    step: int = 0,
    illness: Sequence[str] = tuple(ILLNESSES),
    steps: Sequence[int] = STEPS,
    shots: int = SHOTS,
    seed: int = 0,
    scoring: Scoring = Scoring(metric="image_auroc", part="product"),
) -> pd.DataFrame:
    """Recovery of a model that is harmed on purpose, beside an untrained one.

    Args:
        run: One run, or many.
        step: Whose model is harmed: index of the last task learned, whose images the
            steps are trained and tested on.
        illness: Names in `ILLNESSES`, or several joined by `+`.
        steps: Numbers of optimizer steps to test after.
        shots: Normal training images per category.
        seed: Seeds the harm, the choice of images and the batches.
        scoring: How to score and measure, under the true class.

    Returns:
        The columns of `measure_recovery`, and `illness`; the probes are `learned`
        (healthy), `forgotten` (ill) and `untrained`.

    Example:
        >>> harm = planted_recovery(run, illness=("blocks_reset",), steps=(0, 1))
        >>> sorted(set(harm["probe"]))
        ['forgotten', 'learned', 'untrained']
    """
    refuse_illness(illness)
    refuse_steps(steps)
    healthy = run[step].model(pick_device())
    task = run[step].step
    names = tuple(n for n in run.tasks[task] if n in healthy.categories)
    scoring = under_true_class(scoring).sized(run.config.features.image_size)
    found = recovery_of_ill(
        healthy,
        run.features,
        names,
        run.config.train,
        illness=illness,
        steps=steps,
        shots=shots,
        seed=seed,
        scoring=scoring,
    )
    return found.assign(step=task, task=task)[
        ["illness", *COLUMNS, "value", "labels", "scores"]
    ]


def recovery_of_ill(
    healthy: FlowModel,
    features: Features,
    categories: Sequence[str],
    config: TrainConfig,
    *,
    illness: Sequence[str],
    steps: Sequence[int] = STEPS,
    shots: int = SHOTS,
    seed: int = 0,
    scoring: Scoring = Scoring(metric="image_auroc", part="product"),
) -> pd.DataFrame:
    """As `planted_recovery`, of any model.

    Args:
        healthy: The model that is harmed.
        features: Images of every class of it.
        categories: Those to train and test on.
        config: How to train.
        illness: As there, and so are the others.

    Returns:
        One row per `illness probe update shots lr n_steps category metric part`, with
        its `value`, `labels` and `scores`.
    """
    names = tuple(categories)
    images = few_shots(features, names, shots, seed=seed)

    def curve(model: FlowModel, probe: str) -> pd.DataFrame:
        rows = recovery_curve(
            Trial(model, names, names),
            features,
            images,
            config,
            steps=steps,
            seed=seed,
            scoring=scoring,
        )
        return rows.assign(probe=probe, update="both", shots=shots, lr=config.lr)

    learned = measure(healthy, features, names, scoring=scoring)
    nothing = {"update": "none", "shots": 0, "lr": 0.0, "n_steps": 0}
    learned = learned.assign(probe="learned", **nothing)
    untrained = healthy.fresh().expand_(list(healthy.categories))
    control = curve(untrained, "untrained")
    frames = []
    for name in Bar(illness, desc="retraining what is ill", unit="illness"):
        ill = curve(harmed(healthy, name, seed=seed), "forgotten")
        rows = pd.concat([learned, ill, control], ignore_index=True)
        frames.append(rows.assign(illness=name))
    return pd.concat(frames, ignore_index=True)
