"""Steps of models that reconstruct: AdamW, and IUF's updates."""

__all__ = ["LaterStep", "ReconstructionStep", "projections", "step_of"]

import math

import torch
from torch import Tensor, nn

from cl_flow.data.features import Features
from cl_flow.data.patches import Batch
from cl_flow.model.reconstruction.iuf import IUF
from cl_flow.model.reconstruction.uniad import UniAD

Key = tuple[int, str]
NOISE = 1_000_000_000  # apart from the seeds of batches


class ReconstructionStep:
    """Gradient of a model's own losses, clipped, and AdamW.

    It is to the loop what `cl_flow.training.step.Step` is for a flow.

    Args:
        model: Changed in place.
        seed: Of jitter and dropout.
    """

    def __init__(self, model: UniAD, seed: int) -> None:
        self.model = model
        self.config = model.config
        self.peak = self.config.lr
        self.noise = torch.Generator(model.device).manual_seed(NOISE + seed)
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            betas=self.config.betas,
            weight_decay=self.config.weight_decay,
            fused=True,
        )
        self._read: list[dict[str, Tensor]] = []

    def __call__(
        self, batch: Batch, lr: float, *, intra: bool, rewiring: None = None
    ) -> None:
        """Move the model by one step.

        Args:
            batch: Whole images, on the model's device.
            lr: Rate of this step.
            intra: Not used.
            rewiring: None: no strategy of these models has one.
        """
        self.before()
        terms = self.losses(batch)
        self.model.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.move(lr)
        self._read.append({name: value.detach() for name, value in terms.items()})

    def before(self) -> None:
        """What comes before the gradient."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Terms of the loss."""
        return self.model.losses(batch.x, batch.y, self.noise)

    def move(self, lr: float) -> None:
        """Move the weights along the clipped gradient."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()

    def forget(self) -> None:
        """Look at the model anew; there is nothing that was recorded."""

    def read(self) -> dict[Key, float]:
        """Means of the losses over the steps since the last call, all of level 0."""
        steps = self._read
        self._read = []
        names = steps[0] if steps else ()
        means = {name: torch.stack([s[name] for s in steps]).mean() for name in names}
        return {(0, name): value.item() for name, value in means.items()}

    def finish(self, data: Features) -> None:
        """Let the model keep what the next task's steps will need of these images."""
        self.model.gather_(data.batches())


class FirstStep(ReconstructionStep):
    """IUF's first task: AdamW, and directions are kept free for later ones."""

    model: IUF

    def __init__(self, model: IUF, seed: int) -> None:
        super().__init__(model, seed)
        self.compression = model.compression() if model.config.compress else None

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return self.model.losses(batch.x, batch.y, self.noise, self.compression)


class LaterStep(ReconstructionStep):
    """IUF's later tasks: plain gradient descent that is pulled back and projected.

    Before each step θ ← (1 − p)θ + p·θ_old, θ_old being the weights that the last task
    left: no step leads further from them than lr·clip/p. Of the gradient of a layer's
    last linear map, ∇ ← Vᵀ diag(w) V ∇ remains, with V the directions of what earlier
    images make there, the strongest first, and w_i = ln(i + 1)/ln(width): 0 along the
    first, 1 along the last. Neither has the released code done in the streams that it
    is published with: it gathers V in epochs that it never trains.

    References:
        An incremental unified framework for small defect inspection (Tang et al., 2024)
        https://arxiv.org/abs/2312.08917
    """

    model: IUF

    def __init__(self, model: IUF, seed: int) -> None:
        super().__init__(model, seed)
        self.peak = model.config.later_lr
        self.old = [w.detach().clone() for w in model.parameters()]
        self.kept = projections(model.moments) if model.config.projected else ()

    @torch.no_grad()
    def before(self) -> None:
        for weight, old in zip(self.model.parameters(), self.old):
            weight.lerp_(old, self.model.config.pull)

    @torch.no_grad()
    def move(self, lr: float) -> None:
        for layer, kept in zip(self.model.last_maps, self.kept):
            for weight in (layer.weight, layer.bias):
                if weight.grad is not None:
                    weight.grad = kept @ weight.grad
        for weight in self.model.parameters():
            if weight.grad is not None:
                weight.sub_(lr * weight.grad)


def projections(moments: Tensor) -> Tensor:
    """Matrices Vᵀ diag(w) V (layers, width, width) that gradients are multiplied by.

    Args:
        moments: XᵀX of each layer (layers, width, width); V are its eigenvectors, the
            strongest first, and w_i = ln(i + 1)/ln(width), i from 0.
    """
    width = moments.shape[-1]
    _, columns = torch.linalg.eigh(moments)  # the weakest first
    places = torch.arange(width, 0, -1, device=moments.device)
    weights = places.to(moments).log() / math.log(width)
    return columns @ (weights[:, None] * columns.mT)


def step_of(model: UniAD, seed: int) -> ReconstructionStep:
    """Step of a model and of the task that it is at.

    Args:
        model: With the classes of the task.
        seed: Of jitter and dropout.
    """
    if not isinstance(model, IUF):
        return ReconstructionStep(model, seed)
    return FirstStep(model, seed) if len(model.sizes) == 1 else LaterStep(model, seed)
