"""One step of training, taken kernel by kernel or replayed as a CUDA graph."""

__all__ = ["CapturedStep", "Penalty", "Rewire", "Rewiring", "Step", "WARM_UP"]

import functools
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cl_flow.data.features import Features
from cl_flow.data.patches import Batch
from cl_flow.devices import Lane
from cl_flow.model.flow import FlowModel, trainable
from cl_flow.model.kernels.adam import FusedAdam
from cl_flow.model.losses import hgad_losses, hgad_total
from cl_flow.training.config import TrainConfig

Penalty = Callable[[FlowModel, Batch, list[tuple[Tensor, Tensor]]], Tensor]
# Called once gradients are known, in place of Adam: it changes which weights are used,
# and tells for each parameter which elements begin anew (`FusedAdam.restart`).
Rewiring = Callable[[], Mapping[nn.Parameter, Tensor]]
# Asked before every step, with the steps taken and those of the task, for what is due.
Rewire = Callable[[int, int], Rewiring | None]
Key = tuple[int, str]

_RECORDING = threading.Lock()
# Steps taken before one is recorded: libraries choose their kernels in the first.
WARM_UP = 3


class Step:
    """Gradient of HGAD's losses over all levels, and Adam.

    Losses are summed where the model is, and nothing waits for them until `read`. On a
    GPU the levels, which do not see each other, are computed side by side.

    Args:
        model: Changed in place.
        config: Of the losses and of Adam.
        penalty: Added to the loss: a function of model, batch and, per level, (z,
            log_det).
        lanes: Of the GPU, one for each level, which nobody else computes on.
    """

    def __init__(
        self,
        model: FlowModel,
        config: TrainConfig,
        penalty: Penalty | None,
        lanes: Sequence[Lane] = (),
    ) -> None:
        self.model = model
        self.config = config
        self.penalty = penalty
        self.peak = config.lr
        groups = trainable(model, weight_decay=config.weight_decay)
        self.optimizer = FusedAdam(groups, betas=config.betas)
        self.device = model.levels[0].codes.device
        # A penalty sees the weights of all levels at once.
        self._beside = [lane.stream for lane in lanes[1:]] if penalty is None else []
        # By the losses that a step has, which more of them join within a class.
        self._sums: dict[tuple[Key, ...], Tensor] = {}
        self._counts: Counter[tuple[Key, ...]] = Counter()

    def __call__(
        self,
        batch: Batch,
        lr: float,
        *,
        intra: bool,
        rewiring: Rewiring | None = None,
    ) -> None:
        """Move the model by one step.

        Args:
            batch: On the model's device.
            lr: Rate of this step.
            intra: Whether the losses within a class have begun.
            rewiring: What takes Adam's place in this step, if anything.
        """
        self._counts[self._take(batch, lr, intra, rewiring)] += 1

    def forget(self) -> None:
        """Look at the model anew: tensors of it may have been replaced."""

    def finish(self, data: Features) -> None:
        """Called with the task's images after the last step; a flow needs nothing."""

    def read(self) -> dict[Key, float]:
        """Means of the losses over the steps since the last call.

        By level (−1 is the penalty's) and term.
        """
        sums: dict[Key, float] = defaultdict(float)
        counts: Counter[Key] = Counter()
        for keys, n in self._counts.items():
            values = self._sums[keys]
            for key, value in zip(keys, values.tolist()):
                sums[key] += value
                counts[key] += n
            values.zero_()
        self._counts.clear()
        return {key: value / counts[key] for key, value in sums.items()}

    def _take(
        self,
        batch: Batch,
        lr: float | Tensor,
        intra: bool,
        rewiring: Rewiring | None = None,
    ) -> tuple[Key, ...]:
        """Take the step, and name the losses that it added."""
        losses, latents, totals = {}, [], []
        for i in range(len(self.model.levels)):
            with self._side(i):
                pair, terms = self._losses(i, batch, intra)
                latents.append(pair)
                totals.append(hgad_total(terms, self.config.losses))
            losses |= {(i, name): value.detach() for name, value in terms.items()}
        self._join()
        total = functools.reduce(torch.add, totals)
        if self.penalty is not None:
            extra = self.penalty(self.model, batch, latents)
            total = total + extra
            losses[-1, "penalty"] = extra.detach()
        total.backward()
        if rewiring is None:
            self.optimizer.step(lr)
        else:
            self.optimizer.restart(rewiring())
        keys = tuple(losses)
        values = torch.stack(list(losses.values()))
        self._sums.setdefault(keys, torch.zeros_like(values)).add_(values)
        return keys

    def _losses(
        self, i: int, batch: Batch, intra: bool
    ) -> tuple[tuple[Tensor, Tensor], dict[str, Tensor]]:
        level = self.model.levels[i]
        z, log_det = level(batch.x[i], batch.index[i], batch.y)
        y = batch.y if batch.taught else batch.y[: batch.own]
        n = len(z) * len(y) // len(batch.y)
        terms = hgad_losses(
            level.mixture,
            z[:n],
            log_det[:n],
            y,
            intra=intra,
            label_smoothing=self.config.losses.label_smoothing,
        )
        return (z, log_det), terms

    @contextmanager
    def _side(self, i: int) -> Iterator[None]:
        """Compute beside what the other levels compute; the first one stays."""
        if not 0 < i <= len(self._beside):
            yield
            return
        stream = self._beside[i - 1]
        stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(stream):
            yield

    def _join(self) -> None:
        for stream in self._beside:
            torch.cuda.current_stream(self.device).wait_stream(stream)


class CapturedStep(Step):
    """The same step on a GPU, recorded once and replayed.

    A step is a thousand small kernels, and a GPU would wait longer for each to be
    called than it takes; a recorded one is called whole. The first steps are taken as
    `Step` takes them, and so are those after `forget`, where the losses within a class
    begin, and those of a rewiring.

    Args:
        model, config, penalty, lanes: As for `Step`; one lane or more. A penalty that
            waits for the device, draws numbers or keeps state in Python cannot be
            recorded.

    Raises:
        RuntimeError: What was to be recorded waits for the device.
    """

    def __init__(
        self,
        model: FlowModel,
        config: TrainConfig,
        penalty: Penalty | None,
        lanes: Sequence[Lane],
    ) -> None:
        super().__init__(model, config, penalty, lanes)
        self._lane = lanes[0]
        self._lr = torch.zeros((), device=self.device)
        self._phase: bool | None = None
        self.forget()

    def forget(self) -> None:
        self._graph: torch.cuda.CUDAGraph | None = None
        self._n_taken = 0
        self._keys: tuple[Key, ...] = ()

    def __call__(
        self,
        batch: Batch,
        lr: float,
        *,
        intra: bool,
        rewiring: Rewiring | None = None,
    ) -> None:
        if intra != self._phase:
            self._phase = intra
            self.forget()
        self._lr.fill_(lr)
        if rewiring is not None:
            self._counts[self._take(batch, self._lr, intra, rewiring)] += 1
            return
        if self._graph is None and self._n_taken < WARM_UP:
            self._n_taken += 1
            self._counts[self._take(batch, self._lr, intra)] += 1
            return
        if self._graph is None:
            self._inputs = _copied(batch)
            self._graph = self._record(intra)
        else:
            _fill(self._inputs, batch)
        self._graph.replay()
        self._counts[self._keys] += 1

    def _record(self, intra: bool) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        before = torch.cuda.current_stream(self.device)
        try:
            # Other threads may compute on the same card meanwhile, but not record: that
            # begins by waiting for all of it, which breaks off another recording.
            own = self._lane.stream
            mode = "thread_local"
            with (
                _RECORDING,
                torch.cuda.graph(graph, stream=own, capture_error_mode=mode),
            ):
                self._keys = self._take(self._inputs, self._lr, intra)
        except RuntimeError as error:
            # Torch ends a recording that broke off with an error of its own, and stays
            # on its stream.
            torch.cuda.set_stream(before)
            cause = error.__context__ or error
            if isinstance(cause, (KeyboardInterrupt, torch.cuda.OutOfMemoryError)):
                raise cause from None
            raise RuntimeError(
                "Expected a step that a GPU can record: a penalty, if any, that does "
                f"not wait for it, as `.item()` does; got {cause}. A strategy with "
                "`capturable = False` is trained step by step."
            ) from error
        return graph


def _copied(batch: Batch) -> Batch:
    """A batch in memory of its own."""
    index = [None if cells is None else cells.clone() for cells in batch.index]
    x = [values.clone() for values in batch.x]
    return Batch(x, index, batch.y.clone(), batch.own, batch.taught)


def _fill(inputs: Batch, batch: Batch) -> None:
    """Write a batch over another of the same shape."""
    old = [x for x in (inputs.y, *inputs.x, *inputs.index) if x is not None]
    new = [x for x in (batch.y, *batch.x, *batch.index) if x is not None]
    for mine, theirs in zip(old, new, strict=True):
        if mine.shape != theirs.shape:
            raise ValueError(
                f"Expected batches of one shape; got {tuple(theirs.shape)} after "
                f"{tuple(mine.shape)}."
            )
        mine.copy_(theirs)
