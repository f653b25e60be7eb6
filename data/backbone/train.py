"""Train the bundled backbone on made-up scenes.

A small network learns what does and does not belong.

    python data/backbone/train.py

Every step looks at a few categories nobody has seen (`scenes.py`), each as four normal
and four spoilt photographs, and asks three things of the features of every cell, at
both strides:

* rank: a defect lies farther from its nearest normal cell than the normal cells of the
  same scene do;
* part: a normal cell lies nearer to cells of its own part than to other parts, other
  scenes and defects (neighbourhood components analysis, Goldberger et al. 2004,
  https://www.cs.toronto.edu/~hinton/absps/nca.pdf);
* look: mean and spread of the colours and energies of oriented edges can be read off
  linearly.

The file holds the tensors of the stages that are trained, in half precision.
"""

__all__ = ["train"]

import logging
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.random import Generator
from safetensors.torch import save_file
from scenes import Scene, Skins
from torch import nn
from torch.nn.functional import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool2d,
    conv2d,
    pad,
    softplus,
)

ARCHITECTURE, STAGES = "test_byobnet", (2, 3)
FILE = Path(__file__).with_name("test_byobnet.safetensors")
STEPS, WARMUP, RATE, DECAY = 1400, 30, 3e-3, 0.02
SCENES, FRESH, KEPT = 5, 2, 400
"""Scenes in a step, those drawn anew, and the older ones others are taken from."""
NORMAL, SPOILT, TEXTURES = 4, 4, 1000
SEED = 7

log = logging.getLogger(__name__)


class Album:
    """Batches of photographs: some of new scenes, the others of scenes drawn before,
    mirrored and recoloured anew.
    """

    def __init__(self, rng: Generator) -> None:
        self.rng, self.skins, self.pages = rng, Skins(rng, TEXTURES), []

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (SCENES * 8, 3, H, W) in [0, 1] and labels (SCENES * 8, H, W); -1 is a
        defect.
        """
        fresh = SCENES if len(self.pages) < SCENES else FRESH
        for _ in range(fresh):
            images, labels = Scene(self.rng, self.skins).photographs(
                self.rng, NORMAL, SPOILT
            )
            self.pages.append(((255 * images).byte(), labels))
        older = (
            self.rng.choice(len(self.pages) - fresh, SCENES - fresh, replace=False)
            if fresh < SCENES
            else []
        )
        chosen = self.pages[-fresh:] + [self.pages[i] for i in older]
        self.pages = self.pages[-KEPT:]
        images, labels = (torch.cat(parts) for parts in zip(*chosen, strict=True))
        images = images[:, self.rng.permutation(3)].float() / 255
        if self.rng.random() < 0.5:
            images, labels = images.flip(3), labels.flip(2)
        if self.rng.random() < 0.5:
            images, labels = images.transpose(2, 3), labels.transpose(1, 2)
        return images, labels


def edges() -> torch.Tensor:
    """Even and odd Gabor filters (8, 1, 7, 7) of wavelength 4 in four orientations."""
    ramp = torch.arange(-3.0, 4)
    bell = torch.exp(-(ramp**2 + ramp[:, None] ** 2) / (2 * 1.6**2))
    bell = bell / bell.sum()
    filters = []
    for angle in np.arange(4) * np.pi / 4:
        across = ramp * np.cos(angle) + ramp[:, None] * np.sin(angle)
        for phase in (0, np.pi / 2):
            wave = bell * torch.cos(np.pi / 2 * across + phase)
            filters.append(wave - bell * wave.sum())
    return torch.stack(filters)[:, None]


@torch.no_grad()
def look(images: torch.Tensor, stride: int) -> torch.Tensor:
    """What a cell looks like (B, 18, h, w): edge energies at three scales, then mean
    and spread of three channels.
    """
    grey, energies, bank = images.mean(1, keepdim=True), [], edges()
    for octave in range(3):
        waves = conv2d(pad(grey, (3,) * 4, mode="reflect"), bank)
        energies.append(
            avg_pool2d(
                (waves[:, ::2] ** 2 + waves[:, 1::2] ** 2 + 1e-5).sqrt(),
                stride >> octave,
            )
        )
        grey = avg_pool2d(grey, 2)
    mean = avg_pool2d(images, stride)
    spread = (avg_pool2d(images**2, stride) - mean**2).clamp(min=1e-5).sqrt()
    return torch.cat(
        [(torch.cat(energies, 1) + 0.02).log(), mean, (spread + 0.02).log()], 1
    )


class Cells:
    """The features of one level by scene: support (E, n, C) of normal photographs,
    query (E, n, C) of spoilt ones.
    """

    def __init__(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        channels, *grid = features.shape[1:]
        rows = features.flatten(2).transpose(1, 2).unflatten(0, (-1, NORMAL + SPOILT))
        self.support, self.query = (
            rows[:, :NORMAL].flatten(1, 2),
            rows[:, NORMAL:].flatten(1, 2),
        )
        labels = labels[:, None].float()
        low, high = (
            self._split(-adaptive_max_pool2d(-labels, grid)),
            self._split(adaptive_max_pool2d(labels, grid)),
        )
        spoilt = self._split(adaptive_avg_pool2d((labels < 0).float(), grid))[1]
        self.defect, self.clean = spoilt > (0.1 if grid[0] >= 16 else 0.05), spoilt == 0
        self.parts, self.pure = (
            low,
            (low[0] == high[0], (low[1] == high[1]) & self.clean),
        )
        self.hardest = 64 if grid[0] >= 16 else 16

    @staticmethod
    def _split(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = maps.flatten(1).unflatten(0, (-1, NORMAL + SPOILT))
        return rows[:, :NORMAL].flatten(1), rows[:, NORMAL:].flatten(1)


def rank_loss(cells: Cells) -> torch.Tensor:
    """Mean over defects and the hardest normal cells of softplus(2 (log d² of the
    normal - log d² of the defect)).
    """
    with torch.no_grad():
        nearest = torch.cdist(cells.query, cells.support).argmin(2)
    distance = (
        (cells.query - _take(cells.support, nearest)).square().mean(-1) + 1e-4
    ).log()
    normal = distance.masked_fill(~cells.clean, -1e9).topk(cells.hardest, 1).values
    inversions = softplus(2 * (normal[:, None] - distance[..., None])).mean(-1)
    return (inversions * cells.defect).sum() / cells.defect.sum().clamp(min=1)


def part_loss(
    cells: Cells, sharpness: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Cross-entropy of the own part among sampled support cells of all scenes and
    defects, a softmax of -d².
    """

    def sample(mask: torch.Tensor, count: int) -> torch.Tensor:
        return torch.multinomial(mask.float() + 1e-6, count, generator=generator)

    anchor, other, wrong = (
        sample(cells.pure[1], 48),
        sample(cells.pure[0], 160),
        sample(cells.defect, 24),
    )
    scene = 100 * torch.arange(len(anchor))[:, None]
    own = (cells.parts[1].gather(1, anchor) + scene).flatten()
    marks = torch.where(cells.defect.gather(1, wrong), -1.0, -2.0)
    name = torch.cat(
        [(cells.parts[0].gather(1, other) + scene).flatten(), marks.flatten()]
    )
    anchors = _take(cells.query, anchor).flatten(0, 1)
    candidates = torch.cat(
        [
            _take(cells.support, other).flatten(0, 1),
            _take(cells.query, wrong).flatten(0, 1),
        ]
    )
    squares = (
        anchors.square().sum(1, keepdim=True)
        - 2 * anchors @ candidates.T
        + candidates.square().sum(1)
    )
    logits = (-sharpness.exp() * squares / anchors.shape[1]).masked_fill(
        name == -2, -1e4
    )
    same = own[:, None] == name
    surprise = logits.logsumexp(1) - logits.masked_fill(~same, -1e4).logsumexp(1)
    return surprise[same.any(1)].mean()


def look_loss(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Unexplained share of the variance, averaged over descriptors."""
    return (
        (predicted - target).square().mean((0, 2, 3)) / target.var((0, 2, 3))
    ).mean()


def _take(rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[2]))


def _schedule(step: int, steps: int) -> float:
    """Factor of the learning rate: a short rise, level until 30 %, then a cosine to
    zero.
    """
    after = max(0.0, (step / steps - 0.3) / 0.7)
    return min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + np.cos(np.pi * after))


@torch.no_grad()
def settle(model: nn.Module, batches: list[torch.Tensor]) -> None:
    """Replace the running statistics of the normalisation layers by plain means over
    the batches.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    for batch in batches:
        model.train()(batch)
    model.eval()


def train(steps: int = STEPS, *, seed: int = SEED) -> nn.Module:
    """Train from scratch; equal seeds give equal weights up to the rounding of the
    machine.
    """
    torch.manual_seed(seed)
    generator, album = (
        torch.Generator().manual_seed(seed),
        Album(np.random.default_rng(seed)),
    )
    model = timm.create_model(ARCHITECTURE, features_only=True, out_indices=STAGES)
    model = model.to(memory_format=torch.channels_last).train()
    mean, std = (
        torch.tensor(model.pretrained_cfg[key])[:, None, None]
        for key in ("mean", "std")
    )
    strides = model.feature_info.reduction()
    heads = nn.ModuleList(
        nn.Conv2d(channels, 18, 1) for channels in model.feature_info.channels()
    )
    sharpness = nn.Parameter(torch.ones(len(STAGES)))
    weights = [*model.parameters(), *heads.parameters(), sharpness]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY)
    for step in range(steps):
        images, labels = album.batch()
        images = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
        loss = torch.zeros(())
        for level, features in enumerate(model(images)):
            cells = Cells(features, labels)
            loss = (
                loss + rank_loss(cells) + part_loss(cells, sharpness[level], generator)
            )
            loss = loss + look_loss(
                heads[level](features), look(images, strides[level])
            )
        optimizer.param_groups[0]["lr"] = RATE * _schedule(step, steps)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        if step % 100 == 99:
            log.info("step %d of %d: loss %.3f", step + 1, steps, loss.item())
    settle(model, [(album.batch()[0] - mean) / std for _ in range(20)])
    return model


def save(model: nn.Module, path: Path) -> None:
    """Write the trained tensors under the names of the whole architecture, floats in
    half precision.
    """
    tensors = {
        key.replace("stages_", "stages."): value.half()
        if value.is_floating_point()
        else value
        for key, value in model.state_dict().items()
    }
    save_file({key: value.contiguous() for key, value in tensors.items()}, path)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    save(train(), FILE)
