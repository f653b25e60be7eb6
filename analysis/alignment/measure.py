"""Aligners on finished runs.

The last model's old centers moved by each of them, beside refits and the joint model.
"""

__all__ = [
    "ALL",
    "class_errors",
    "class_gaussian",
    "gaussian_errors",
    "measure_alignment",
]

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import torch
from torch import Tensor

from analysis.alignment.conclude import ERRORS
from analysis.experiments import table
from analysis.scoring import Scoring, measure, task_of, under_true_class
from cl_flow.align.affine import HEADS, frames_of
from cl_flow.align.aligners import ALIGNERS, KEPT, Evidence
from cl_flow.align.evidence import carried, gathered, realigned, with_latents
from cl_flow.align.law_fits import LawOptions, feature_laws, latent_laws
from cl_flow.align.laws import ClassLaws
from cl_flow.align.refits import refit
from cl_flow.align.statistics.gaussian import GaussianStats
from cl_flow.calls import refuse_unknown
from cl_flow.devices import pick_device
from cl_flow.model.flow import FlowModel
from cl_flow.model.mixture import Mixture
from cl_flow.progress import Bar
from cl_flow.runs.fitting import fit
from cl_flow.runs.run import Run
from cl_flow.scoring.latents import Latents, encode

# FIGMN answers what IGMN does.
ALL = (
    *(name for name in ALIGNERS if name not in ("igmm", "igmn")),
    "exemplars",
)
SHIFTS = ("identity", "mean_shift", "sdc")  # have nothing to say of shapes


@table
def measure_alignment(
    run: Run,
    *,
    aligner: Sequence[str] = ALL,
    head: Sequence[str] = HEADS,
    joint: bool = True,
    components: int = 1,
    position: str = "pooled",
    places: int = 256,
    n_draws: int = 2048,
    seed: int = 0,
    scoring: Scoring = Scoring(metric="image_auroc", part="product"),
) -> pd.DataFrame:
    """Move a run's old classes by each aligner, and score.

    None of them trains the flow.

    Beside the aligners stand `none` (the run as it is), `exemplars` (a refit on as many
    stored patches as the bytes of the class Gaussians buy), and `joint` (another run,
    which learned everything at once). `refit` on all training images is the bound: what
    its heads reach is all that means, or means and covariances, can give back.

    How to read it: an aligner is as good as the share of the way from `none` to the
    refit that it goes. All are scored with constants from the training images, as
    `evaluate` has them, so that only the mixtures differ. Drifts are applied task after
    task, from the centers as each task left them; the rest looks at the last model
    alone.

    Args:
        run: One run, or many, that learn task after task.
        aligner: Names in `cl_flow.align.ALIGNERS`, or `"exemplars"`.
        head: `"means"`, `"full"`, or both; those that only shift have one.
        joint: Whether to add the joint model, which is trained when it is missing.
        scoring: How to score and measure, under the true class.
        components: Gaussians per class and level in what is kept of features.
        position: What of a class's law depends on where a patch lies (`LawOptions`).
        places: Places of a grid that are told apart, at most.
        n_draws: Latents to draw per class and level.
        seed: Seeds the draws.

    Returns:
        One row per `aligner head task category metric part` with its `value`, for image
        metrics the `labels` and `scores` of the images, and of the aligner the
        `n_bytes` that it keeps of old classes and its `seconds`. Two metrics measure
        the mixture itself against the Gaussian of all training latents under the same
        flow, per old category and as a mean over levels (`part` is empty):
        `center_error`, the distance of the means in units of the class's
        root-mean-square radius, and `symmetric_kl`, in nats per dimension.

    Example:
        >>> aligned = measure_alignment(run, aligner=("sdc", "refit"))
        >>> sorted(set(aligned["metric"]))
        ['center_error', 'image_auroc', 'symmetric_kl']
    """
    refuse_unknown("aligner", aligner, (*ALIGNERS, "exemplars"))
    refuse_unknown("head", head, HEADS)
    _check(run)
    scoring = under_true_class(scoring).sized(run.config.features.image_size)
    bench = _Bench(run, LawOptions(components, position, places), n_draws, seed)
    as_it_is = [level.mixture for level in bench.last.levels]
    kept = sum(values.nbytes for values in run[-1].memory().values())
    frames = [_rows(bench, "none", "", as_it_is, kept, 0.0, scoring)]
    grid = []
    for name in aligner:
        heads = ("means",) if name in SHIFTS else head
        grid += [(name, which) for which in heads]
    title = f"aligning {run.name}"
    for name, which in Bar(grid, desc=title, unit="aligner"):
        begun = time.perf_counter()
        mixtures, n_bytes = bench.aligned(name, which)
        seconds = time.perf_counter() - begun
        frames.append(_rows(bench, name, which, mixtures, n_bytes, seconds, scoring))
    if joint:
        frames.append(_joint(run, scoring))
    rows = pd.concat(frames, ignore_index=True)
    rows["task"] = [task_of(run, name) for name in rows["category"]]
    keys = ["aligner", "head", "task", "category", "metric", "part"]
    return rows[[*keys, "value", "labels", "scores", "n_bytes", "seconds"]]


def _check(run: Run) -> None:
    if len(run) < 2 or not set(run[0].categories) < set(run[-1].categories):
        raise ValueError(
            "Expected a run that learns task after task and keeps its centers; got "
            f"{run.name} with {len(run)} steps."
        )


@dataclass
class _Bench:
    """Models, latents and evidence of one run.

    Each is computed once and when first asked for.
    """

    run: Run
    options: LawOptions
    n_draws: int
    seed: int

    @cached_property
    def models(self) -> list[FlowModel]:
        return [snapshot.model(pick_device()) for snapshot in self.run]

    @property
    def last(self) -> FlowModel:
        return self.models[-1]

    @property
    def old(self) -> tuple[str, ...]:
        """Categories that were there before the last task."""
        return self.run[-2].categories

    @cached_property
    def latents(self) -> Latents:
        """All images under the last flow."""
        return encode(self.last, self.run.features)

    @cached_property
    def images(self) -> list[tuple[Tensor, Tensor]]:
        """Per level the latents and class ids of every old training patch."""
        old = self.latents.where(split="train", label=0, category=list(self.old))
        y = self.last.class_ids(list(old.samples["category"]))
        return [
            (z.flatten(0, 1).to(y.device), y.repeat_interleave(z.shape[1]))
            for z in old.read()
        ]

    @cached_property
    def laws(self) -> ClassLaws:
        """Laws of the old classes' features."""
        training = self.run.features.where(split="train", label=0)
        generator = torch.Generator().manual_seed(self.seed)
        return feature_laws(
            training,
            self.old,
            self.options,
            device=pick_device(),
            generator=generator,
        )

    @cached_property
    def evidence(self) -> list[list[Evidence]]:
        """Per task but the first, per level."""
        out = []
        for task, before, after in zip(
            self.run.stream()[1:], self.models, self.models[1:]
        ):
            laws = self.laws if after is self.last else None
            out.append(
                gathered(
                    before,
                    after,
                    task.features,
                    features=laws,
                    n_draws=self.n_draws,
                    seed=self.seed + task.index,
                )
            )
        return out

    def aligned(self, aligner: str, head: str) -> tuple[list[Mixture], int]:
        """Align the last mixture, per level.

        And the bytes that the aligner keeps of old classes.
        """
        kept = KEPT.get(aligner)
        now = [level.mixture for level in self.last.levels]
        if aligner == "exemplars":
            x, n_bytes = self._exemplars()
            return [
                _refit_few(mixture, *pair, head) for mixture, pair in zip(now, x)
            ], n_bytes
        if kept == "images":
            # As features are stored.
            n_bytes = sum(z.shape[0] * z.shape[1] * 2 for z, _ in self.images)
            return [
                refit(mixture, *pair, family=head)
                for mixture, pair in zip(now, self.images)
            ], n_bytes
        if kept == "features":
            return [
                ALIGNERS[aligner](mixture, known, head=head)
                for mixture, known in zip(now, self.evidence[-1])
            ], self.laws.nbytes
        return self._along(aligner, head, laws=kept == "latents")

    def _along(
        self, aligner: str, head: str, *, laws: bool
    ) -> tuple[list[Mixture], int]:
        """Task after task, from the centers as the first left them.

        With the latent laws carried along.
        """
        mixtures = [level.mixture for level in self.models[0].levels]
        kept = None
        options = self.options.of_latents()
        generator = torch.Generator().manual_seed(self.seed)
        for task, before, after, evidence in zip(
            self.run.stream(), self.models, self.models[1:], self.evidence
        ):
            if laws:
                new = latent_laws(
                    before,
                    task.features,
                    task.categories,
                    options,
                    generator=generator,
                )
                kept = new if kept is None else kept.followed_by(new)
                evidence = with_latents(evidence, kept)
            mixtures = realigned(
                mixtures,
                [level.mixture for level in after.levels],
                evidence,
                aligner,
                head=head,
            )
            kept = carried(evidence, options) if laws else None
        return mixtures, kept.nbytes if kept else 0

    def _exemplars(self) -> tuple[list[tuple[Tensor, Tensor]], int]:
        """Latents and class ids of a few training patches, per level.

        As many as fit into the bytes of the class Gaussians.
        """
        out = []
        n_bytes = 0
        for i, (z, y) in enumerate(self.images):
            laws = self.laws.level(i).values()
            size = sum(law.nbytes for law in laws) // len(laws)
            n = max(2, size // (2 * z.shape[1] + 2))
            generator = torch.Generator().manual_seed(self.seed)
            order = torch.randperm(len(y), generator=generator).to(y.device)
            chosen = torch.cat([order[y[order] == k][:n] for k in y.unique()])
            out.append((z[chosen], y[chosen]))
            n_bytes += len(chosen) * (2 * z.shape[1] + 2)  # half precision, and a cell
        return out, n_bytes


def _refit_few(mixture: Mixture, z: Tensor, y: Tensor, head: str) -> Mixture:
    """Refit whose covariances are shrunk.

    In proportion to how few latents a class has.
    """
    per_class = len(y) / len(y.unique())
    return refit(
        mixture, z, y, family=head, shrinkage=z.shape[1] / (z.shape[1] + per_class)
    )


def _rows(
    bench: _Bench,
    aligner: str,
    head: str,
    mixtures: Sequence[Mixture],
    n_bytes: int,
    seconds: float,
    scoring: Scoring,
) -> pd.DataFrame:
    """Scores of an aligned model, and errors of its old classes.

    How far these are from their latents.
    """
    before = [level.mixture for level in bench.last.levels]
    for level, mixture in zip(bench.last.levels, mixtures):
        level.mixture = mixture
    scored = measure(bench.last, bench.latents, bench.last.categories, scoring=scoring)
    for level, mixture in zip(bench.last.levels, before):
        level.mixture = mixture
    rows = pd.concat([scored, _errors(bench, mixtures)], ignore_index=True)
    return rows.assign(aligner=aligner, head=head, n_bytes=n_bytes, seconds=seconds)


def _joint(run: Run, scoring: Scoring) -> pd.DataFrame:
    """Scores of the joint model of the same seeds."""
    config = run.config.replace(strategy="joint", options={})
    joint = fit(config, folder=run.folder.parent)
    model = joint[-1].model(pick_device())
    rows = measure(model, joint.features, run[-1].categories, scoring=scoring)
    return rows.assign(aligner="joint", head="", n_bytes=0, seconds=0.0)


def _errors(bench: _Bench, mixtures: Sequence[Mixture]) -> pd.DataFrame:
    """Per old category both errors, means over levels."""
    values: list[list[tuple[float, float]]] = [[] for _ in bench.old]
    for mixture, (z, y) in zip(mixtures, bench.images):
        for k, per_level in enumerate(values):
            per_level.append(class_errors(mixture, k, z[y == k]))
    means = torch.tensor(values).mean(1).tolist()
    rows = [
        (name, metric, "", v)
        for name, pair in zip(bench.old, means)
        for metric, v in zip(ERRORS, pair)
    ]
    return pd.DataFrame(rows, columns=["category", "metric", "part", "value"])


def class_errors(mixture: Mixture, k: int, z: Tensor) -> tuple[float, float]:
    """Errors of one class as the density of its latents.

    Args:
        mixture: Of which class k is looked at.
        k: Its id.
        z: Latents of it (N, D).

    Returns:
        The distance of the means by the latents' root-mean-square radius, and the
        symmetric KL divergence of the Gaussians, in nats per dimension.
    """
    return gaussian_errors(class_gaussian(mixture, k), GaussianStats.of(z.double()))


def class_gaussian(mixture: Mixture, k: int) -> GaussianStats:
    """Mean and covariance of a class among the latents.

    As statistics of one point.
    """
    weight, bias = (values[k].double() for values in frames_of(mixture))
    components = mixture.components()[k].detach().double()
    among = GaussianStats.of(
        components, mixture.psi[k].detach().double().softmax(0)[:, None]
    )
    inverse = torch.linalg.inv(weight)
    covariance = (
        inverse @ (torch.eye(len(bias)).to(weight) + among.covariance()[0]) @ inverse.T
    )
    return GaussianStats(
        among.n, ((among.mean[0] - bias) @ inverse.T)[None], covariance[None]
    )


def gaussian_errors(a: GaussianStats, b: GaussianStats) -> tuple[float, float]:
    """Distance of the means, and symmetric KL divergence.

    The first by the radius of b, the second per dimension.
    """
    delta = (a.mean - b.mean)[0]
    A = a.covariance(shrinkage=1e-6)[0]
    B = b.covariance(shrinkage=1e-6)[0]
    dim = len(delta)
    inverses = torch.linalg.inv(A) + torch.linalg.inv(B)
    traces = (torch.linalg.solve(A, B) + torch.linalg.solve(B, A)).trace()
    kl = 0.5 * (traces - 2 * dim + delta @ inverses @ delta) / 2
    return (delta.norm() / B.trace().sqrt()).item(), (kl / dim).item()
