"""Features of samples, extracted once and kept on disk."""

__all__ = ["fingerprint", "load_features"]

import dataclasses
import json
import logging
import math
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor, nn
from tqdm.auto import tqdm

from cl_flow.data.backbones import FeatureConfig, load_backbone
from cl_flow.data.features import Features
from cl_flow.data.images import read_image
from cl_flow.data.store import open_levels
from cl_flow.devices import pick_device
from cl_flow.identity import digest_of
from cl_flow.paths import DATA, atomic

log = logging.getLogger(__name__)

# Pixels that a core infers at a time: what a layer hands to the next then stays in its
# cache.
PIECE = 2**18


def load_features(
    samples: pd.DataFrame,
    config: FeatureConfig | None = None,
    *,
    root: str | Path = DATA / "features",
    device: str | torch.device | None = None,
    batch_size: int = 32,
    progress: bool = True,
) -> Features:
    """Features of the samples, from disk or extracted now.

    An interrupted extraction goes on where it stopped.

    The folder is keyed by backbone, weights, transform and the images' bytes.

    Args:
        samples: One row per image.
        config: What to extract.
        root: Folder of all feature caches.
        device: Where the backbone runs; None takes the GPU when there is one.
        batch_size: Images per forward pass, at most; on a CPU, no more cores than that
            infer at a time.
        progress: Whether to show a bar.

    Raises:
        OSError: The disk is too small; the message holds the estimate.
        ValueError: No samples, or a batch of none.
    """
    config = config or FeatureConfig()
    if not len(samples):
        raise ValueError("Expected at least one sample; got an empty table.")
    if batch_size < 1:
        raise ValueError(f"Expected a batch of one image or more; got {batch_size}.")
    model, facts = load_backbone(config)
    facts = {
        **dataclasses.asdict(config),
        **facts,
        "data": fingerprint(samples),
        "images": len(samples),
    }
    identity = {
        key: value for key, value in facts.items() if key not in ("source", "weights")
    }
    dataset = samples["dataset"].iloc[0]
    backbone = config.backbone.split(".")[0]
    key = digest_of(identity, 8)
    folder = Path(root) / f"{dataset}-{backbone}-{config.image_size}px-{key}"
    if not (folder / "complete.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if not (folder / "complete.json").is_file():
                device = pick_device(device)
                _extract(
                    samples,
                    config,
                    model.to(device),
                    facts,
                    folder,
                    device,
                    batch_size,
                    progress,
                )
    grids = json.loads((folder / "complete.json").read_text())["grids"]
    levels = open_levels(folder, len(grids))
    return Features(
        samples.reset_index(drop=True),
        levels,
        tuple(map(tuple, grids)),
        np.arange(len(samples)),
        folder,
    )


def fingerprint(samples: pd.DataFrame) -> str:
    """Digest of the images.

    Name, size and both ends of each file, which hold every compressed format's
    checksums.
    """
    digest = blake2b(digest_size=16)
    for path, category, defect in zip(
        samples["image_path"], samples["category"], samples["defect"]
    ):
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            head = file.read(4096)
            file.seek(max(0, size - 4096))
            digest.update(
                f"{category}/{defect}/{Path(path).name}:{size}".encode()
                + head
                + file.read(4096)
            )
    return digest.hexdigest()


def _extract(
    samples: pd.DataFrame,
    config: FeatureConfig,
    model: nn.Module,
    facts: dict,
    folder: Path,
    device: torch.device,
    batch_size: int,
    progress: bool,
) -> None:
    done, grids = _progress(folder)
    levels = open_levels(folder, len(grids), mode="r+") if grids else None
    saved = time.monotonic()
    paths = list(samples["image_path"])
    bar = tqdm(
        total=len(paths),
        initial=done,
        desc="features",
        unit="image",
        disable=not progress,
    )
    inferred = _inferred(config, model, facts, paths[done:], device, batch_size)
    with bar, closing(inferred):
        try:
            for features in inferred:
                n = len(features[0])
                if levels is None:
                    grids = [tuple(values.shape[2:]) for values in features]
                    shapes = [
                        (len(paths), math.prod(values.shape[2:]), values.shape[1])
                        for values in features
                    ]
                    levels = _allocate(folder, shapes)
                for level, values in zip(levels, features, strict=True):
                    level[done : done + n] = values.flatten(2).mT.cpu().numpy()
                done += n
                bar.update(n)
                if time.monotonic() > saved + 1:
                    _checkpoint(folder, levels, done, grids)
                    saved = time.monotonic()
        finally:
            if levels is not None:
                _checkpoint(folder, levels, done, grids)
    with atomic(folder / "complete.json") as path:
        path.write_text(json.dumps({**facts, "grids": grids}, indent=1))


def _inferred(
    config: FeatureConfig,
    model: nn.Module,
    facts: dict,
    paths: Sequence[str],
    device: torch.device,
    batch_size: int,
) -> Iterator[list[Tensor]]:
    """Features (B, D, H, W) of consecutive images, per level.

    Some at a time.

    On a CPU every core decodes and infers a few images alone, so that none waits for
    another; how many does not depend on the number of cores, nor do the bits. A GPU
    infers whole batches, while the next ones are decoded.
    """
    fit, normalize = _transforms(config, facts)

    def decode(piece: Sequence[str]) -> Tensor:
        return torch.stack([fit(read_image(path)) for path in piece])

    def alone(piece: Sequence[str]) -> list[Tensor]:
        return _forward(model, normalize(decode(piece)), config.scales)

    if device.type == "cpu":
        size = min(batch_size, PIECE // config.image_size**2) or 1
        cores = torch.get_num_threads()
        pieces = [paths[start : start + size] for start in range(0, len(paths), size)]
        # It keeps what its layers gave in itself.
        from timm.models import FeatureHookNet

        one_at_a_time = isinstance(model, FeatureHookNet)
        n = 1 if one_at_a_time else max(1, min(cores, batch_size, len(pieces)))
        with _workers(n, cores // n) as pool:
            yield from _ahead(pool, alone, pieces, 2 * n)
    else:
        with _workers(max(2, os.cpu_count() or 1)) as pool:
            images = _ahead(pool, decode, [[path] for path in paths], 2 * batch_size)
            while batch := list(islice(images, batch_size)):
                yield _forward(
                    model, normalize(torch.cat(batch).to(device)), config.scales
                )


@contextmanager
def _workers(n: int, cores: int = 1) -> Iterator[ThreadPoolExecutor]:
    """Threads that compute on so many cores each.

    What they have not begun when one leaves is never done.
    """
    pool = ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(cores,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        # Or every new thread would compute on as few.
        torch.set_num_threads(torch.get_num_threads())


def _ahead(
    pool: ThreadPoolExecutor, function: Callable[[Any], Any], items: Iterable, n: int
) -> Iterator:
    """Results of a function in order, computed ahead.

    `n` items ahead of the one that is asked for.
    """
    items = iter(items)
    waiting = deque(pool.submit(function, item) for item in islice(items, n))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in islice(items, 1))
        yield result


def _transforms(config: FeatureConfig, facts: dict) -> tuple[Callable, Callable]:
    """Transforms from a picture to what the backbone takes.

    The first gives pixels of the wanted size, the second takes such images (B, 3, H,
    W).
    """
    from torchvision.transforms import v2

    mode = v2.InterpolationMode(facts["interpolation"])
    size = (config.image_size, config.image_size)
    fit = [v2.ToImage(), v2.Resize(size, interpolation=mode, antialias=True)]
    normalize = [
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(facts["mean"], facts["std"]),
    ]
    return v2.Compose(fit), v2.Compose(normalize)


@torch.inference_mode()
def _forward(model: nn.Module, images: Tensor, scales: Sequence[int]) -> list[Tensor]:
    """Every stage of every scale (B, D, H, W).

    Smaller scales are resampled as HGAD does.
    """
    out: list[Tensor] = []
    for scale in scales:
        size = [side // scale for side in images.shape[-2:]]
        small = images
        if scale != 1:
            small = F.interpolate(
                images, size=size, mode="bilinear", align_corners=True
            )
        out += model(small)
    return [values.half() for values in out]


def _progress(folder: Path) -> tuple[int, list[tuple[int, int]] | None]:
    """Images that an interrupted extraction has done, and its grids."""
    state = folder / "progress.json"
    if not state.is_file():
        return 0, None
    values = json.loads(state.read_text())
    return values["done"], values["grids"]


def _allocate(
    folder: Path, shapes: list[tuple[int, int, int]]
) -> tuple[np.memmap, ...]:
    need = sum(2 * math.prod(shape) for shape in shapes)
    free = shutil.disk_usage(folder).free
    log.info("features of %d images: %.2f GB in %s", shapes[0][0], need / 1e9, folder)
    if need > 0.95 * free:
        raise OSError(
            f"Expected {need / 1e9:.1f} GB of free disk for the features; got "
            f"{free / 1e9:.1f} GB at {folder}. "
            "Point CL_FLOW_DATA at a larger disk, or take a smaller image_size."
        )
    return tuple(
        np.lib.format.open_memmap(folder / f"level{i}.npy", "w+", np.float16, s)
        for i, s in enumerate(shapes)
    )


def _checkpoint(
    folder: Path,
    levels: Sequence[np.memmap],
    done: int,
    grids: Sequence[tuple[int, int]],
) -> None:
    for level in levels:
        level.flush()
    with atomic(folder / "progress.json") as path:
        path.write_text(json.dumps({"done": done, "grids": grids}))
