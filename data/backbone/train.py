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

ARCHITECTURE = "test_byobnet"
STAGES = (2, 3)
FILE = Path(__file__).with_name("test_byobnet.safetensors")
STEPS = 1400
WARMUP = 30
RATE = 3e-3
DECAY = 0.02
SCENES = 5
"""Scenes in a step."""
FRESH = 2
"""Scenes of a step that are drawn anew."""
KEPT = 400
"""Scenes kept, from which the others of a step are taken."""
NORMAL = 4
SPOILT = 4
TEXTURES = 1000
SEED = 7

log = logging.getLogger(__name__)


class Album:
    """Batches of photographs, some of new scenes, the others of scenes drawn before.

    They are mirrored and recoloured anew.
    """

    def __init__(self, rng: Generator) -> None:
        self.rng = rng
        self.skins = Skins(rng, TEXTURES)
        self.pages = []

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (SCENES * 8, 3, H, W) in [0, 1] and labels (SCENES * 8, H, W).

        The label of a defect is -1.
        """
        chosen = self._turn()
        images, labels = (torch.cat(parts) for parts in zip(*chosen, strict=True))
        images = images[:, self.rng.permutation(3)].float() / 255
        if self.rng.random() < 0.5:
            images, labels = images.flip(3), labels.flip(2)
        if self.rng.random() < 0.5:
            images, labels = images.transpose(2, 3), labels.transpose(1, 2)
        return images, labels

    def _turn(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Photographs and labels of the scenes of a step, the new ones first."""
        fresh = SCENES if len(self.pages) < SCENES else FRESH
        for _ in range(fresh):
            scene = Scene(self.rng, self.skins)
            images, labels = scene.photographs(self.rng, NORMAL, SPOILT)
            self.pages.append(((255 * images).byte(), labels))
        chosen = self.pages[-fresh:]
        if fresh < SCENES:
            known = len(self.pages) - fresh
            older = self.rng.choice(known, SCENES - fresh, replace=False)
            chosen = chosen + [self.pages[i] for i in older]
        self.pages = self.pages[-KEPT:]
        return chosen


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
    """Describe the looks of every cell, (B, 18, h, w).

    Edge energies at three scales, then mean and spread of three channels.
    """
    grey = images.mean(1, keepdim=True)
    bank = edges()
    energies = []
    for octave in range(3):
        waves = conv2d(pad(grey, (3,) * 4, mode="reflect"), bank)
        energy = waves[:, ::2] ** 2 + waves[:, 1::2] ** 2
        energies.append(avg_pool2d((energy + 1e-5).sqrt(), stride >> octave))
        grey = avg_pool2d(grey, 2)
    mean = avg_pool2d(images, stride)
    variance = avg_pool2d(images**2, stride) - mean**2
    spread = variance.clamp(min=1e-5).sqrt()
    log_energies = (torch.cat(energies, 1) + 0.02).log()
    return torch.cat([log_energies, mean, (spread + 0.02).log()], 1)


class Cells:
    """Features of one level by scene, with what every cell shows.

    Support (E, n, C) of normal photographs, query (E, n, C) of spoilt ones.
    """

    def __init__(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        channels, *grid = features.shape[1:]
        rows = features.flatten(2).transpose(1, 2).unflatten(0, (-1, NORMAL + SPOILT))
        self.support = rows[:, :NORMAL].flatten(1, 2)
        self.query = rows[:, NORMAL:].flatten(1, 2)
        labels = labels[:, None].float()
        low = self._split(-adaptive_max_pool2d(-labels, grid))
        high = self._split(adaptive_max_pool2d(labels, grid))
        shares = adaptive_avg_pool2d((labels < 0).float(), grid)
        _, spoilt = self._split(shares)
        fine = grid[0] >= 16
        self.defect = spoilt > (0.1 if fine else 0.05)
        self.clean = spoilt == 0
        self.parts = low
        self.pure = (low[0] == high[0], (low[1] == high[1]) & self.clean)
        self.hardest = 64 if fine else 16

    @staticmethod
    def _split(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = maps.flatten(1).unflatten(0, (-1, NORMAL + SPOILT))
        return rows[:, :NORMAL].flatten(1), rows[:, NORMAL:].flatten(1)


def rank_loss(cells: Cells) -> torch.Tensor:
    """Inversions of order between defects and the hardest normal cells.

    Their mean of softplus(2 (log d² of the normal - log d² of the defect)).
    """
    with torch.no_grad():
        nearest = torch.cdist(cells.query, cells.support).argmin(2)
    offset = cells.query - _take(cells.support, nearest)
    distance = (offset.square().mean(-1) + 1e-4).log()
    normal = distance.masked_fill(~cells.clean, -1e9).topk(cells.hardest, 1).values
    inversions = softplus(2 * (normal[:, None] - distance[..., None])).mean(-1)
    return (inversions * cells.defect).sum() / cells.defect.sum().clamp(min=1)


def part_loss(
    cells: Cells, sharpness: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Cross-entropy of the own part, a softmax of -d².

    The candidates are sampled support cells of all scenes, and defects.
    """

    def sample(mask: torch.Tensor, count: int) -> torch.Tensor:
        return torch.multinomial(mask.float() + 1e-6, count, generator=generator)

    anchor = sample(cells.pure[1], 48)
    other = sample(cells.pure[0], 160)
    wrong = sample(cells.defect, 24)
    scene = 100 * torch.arange(len(anchor))[:, None]
    own = (cells.parts[1].gather(1, anchor) + scene).flatten()
    theirs = (cells.parts[0].gather(1, other) + scene).flatten()
    # -1 names a defect, -2 a cell drawn for want of defects, which does not count.
    marks = torch.where(cells.defect.gather(1, wrong), -1.0, -2.0)
    name = torch.cat([theirs, marks.flatten()])
    anchors = _take(cells.query, anchor).flatten(0, 1)
    normal = _take(cells.support, other).flatten(0, 1)
    spoilt = _take(cells.query, wrong).flatten(0, 1)
    squares = _squared_distances(anchors, torch.cat([normal, spoilt]))
    logits = -sharpness.exp() * squares / anchors.shape[1]
    logits = logits.masked_fill(name == -2, -1e4)
    same = own[:, None] == name
    surprise = logits.logsumexp(1) - logits.masked_fill(~same, -1e4).logsumexp(1)
    return surprise[same.any(1)].mean()


def _squared_distances(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    own = x.square().sum(1, keepdim=True)
    return own - 2 * x @ y.T + y.square().sum(1)


def look_loss(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Unexplained share of the variance, averaged over descriptors."""
    unexplained = (predicted - target).square().mean((0, 2, 3))
    return (unexplained / target.var((0, 2, 3))).mean()


def _take(rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[2]))


def _schedule(step: int, steps: int) -> float:
    """Factor of the learning rate.

    A short rise, level until 30 %, then a cosine to zero.
    """
    rise = min(1.0, (step + 1) / WARMUP)
    after = max(0.0, (step / steps - 0.3) / 0.7)
    return rise * 0.5 * (1 + np.cos(np.pi * after))


@torch.no_grad()
def settle(model: nn.Module, batches: list[torch.Tensor]) -> None:
    """Replace the layers' running statistics by plain means over the batches."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    for batch in batches:
        model.train()(batch)
    model.eval()


def train(steps: int = STEPS, *, seed: int = SEED) -> nn.Module:
    """Train from scratch.

    Equal seeds give equal weights up to the rounding of the machine.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    album = Album(np.random.default_rng(seed))
    model = timm.create_model(ARCHITECTURE, features_only=True, out_indices=STAGES)
    model = model.to(memory_format=torch.channels_last).train()
    mean = torch.tensor(model.pretrained_cfg["mean"])[:, None, None]
    std = torch.tensor(model.pretrained_cfg["std"])[:, None, None]
    strides = model.feature_info.reduction()
    channels = model.feature_info.channels()
    heads = nn.ModuleList(nn.Conv2d(width, 18, 1) for width in channels)
    sharpness = nn.Parameter(torch.ones(len(STAGES)))
    weights = [*model.parameters(), *heads.parameters(), sharpness]
    optimizer = torch.optim.AdamW(weights, lr=RATE, weight_decay=DECAY)
    for step in range(steps):
        images, labels = album.batch()
        images = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
        loss = torch.zeros(())
        for level, features in enumerate(model(images)):
            cells = Cells(features, labels)
            parts = part_loss(cells, sharpness[level], generator)
            loss = loss + rank_loss(cells) + parts
            looks = look(images, strides[level])
            loss = loss + look_loss(heads[level](features), looks)
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
    """Write the trained tensors in half precision.

    They go under the names of the whole architecture.
    """
    tensors = {}
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            value = value.half()
        tensors[key.replace("stages_", "stages.")] = value.contiguous()
    save_file(tensors, path)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    save(train(), FILE)
