"""Inference of a frozen backbone: pictures in, features out."""

__all__ = ["ahead", "forward", "infer", "precision_on", "transforms", "workers"]

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_flow.data.backbones import FeatureConfig
from cl_flow.data.images import read_pixels

log = logging.getLogger(__name__)

# Pixels that a core infers at a time: what a layer hands to the next then stays in its
# cache.
PIECE = 2**18


def infer(
    config: FeatureConfig,
    model: nn.Module,
    facts: dict,
    paths: Sequence[str],
    device: torch.device,
    batch_size: int,
) -> Iterator[list[Tensor]]:
    """Features of consecutive images, some at a time, per level.

    On a CPU every core decodes and infers a few images alone, so that none waits for
    another; how many does not depend on the number of cores, nor do the bits. A GPU
    resizes and infers whole batches, while the next ones are decoded.

    Args:
        config: What to extract.
        model: The backbone, on the device.
        facts: Of the backbone, as `load_backbone` tells them.
        paths: Of the images.
        device: Where to infer.
        batch_size: Images per forward pass, at most.

    Yields:
        Per level (B, H, W, D) in half precision on the CPU, ready to be read until the
        next ones are asked for.
    """
    if device.type == "cpu":
        yield from _on_cores(config, model, facts, paths, batch_size)
        return
    with torch.cuda.device(device):  # events are of the current one
        yield from _on_gpu(config, model, facts, paths, device, batch_size)


def precision_on(config: FeatureConfig, device: torch.device) -> str:
    """Precision of the products: as configured, or what suits the device.

    A GPU that computes in bfloat16 takes it, which has the range of float32; features
    are stored in half precision in any case.
    """
    if config.precision is not None:
        return config.precision
    if device.type != "cuda" or torch.cuda.get_device_capability(device)[0] < 8:
        return "float32"
    return "bfloat16"


@torch.inference_mode()
def forward(
    model: nn.Module,
    images: Tensor,
    scales: Sequence[int],
    precision: str = "float32",
) -> list[Tensor]:
    """Every stage of every scale (B, H, W, D), in half precision.

    Smaller scales are resampled as HGAD does. A backbone that gives channels last says
    so by its `output_fmt`.

    Raises:
        ValueError: The backbone gives no maps of the channels that timm tells.
    """
    out: list[Tensor] = []
    lower = precision != "float32"
    with torch.autocast(images.device.type, getattr(torch, precision), enabled=lower):
        for scale in scales:
            size = [side // scale for side in images.shape[-2:]]
            small = images
            if scale != 1:
                small = F.interpolate(
                    images, size=size, mode="bilinear", align_corners=True
                )
            out += model(small)
    if getattr(model, "output_fmt", "NCHW") == "NCHW":
        out = [values.movedim(1, -1) for values in out]
    _check_channels(model, out, len(scales))
    return [values.half().contiguous() for values in out]


def _check_channels(model: nn.Module, levels: list[Tensor], n_scales: int) -> None:
    info: Any = model.feature_info
    expected = list(info.channels()) * n_scales
    if [values.shape[-1] for values in levels] != expected or levels[0].ndim != 4:
        shapes = ", ".join(str(tuple(values.shape)) for values in levels)
        raise ValueError(
            f"Expected maps of {expected} channels, as timm tells of this backbone; "
            f"got {shapes}. Choose another backbone."
        )


def transforms(config: FeatureConfig, facts: dict) -> tuple[Callable, Callable]:
    """Transforms from pixels (…, 3, h, w) to what the backbone takes.

    The first gives bytes of the wanted size, the second normalised numbers.
    """
    from torchvision.transforms import v2

    mode = v2.InterpolationMode(facts["interpolation"])
    size = (config.image_size, config.image_size)
    fit = v2.Resize(size, interpolation=mode, antialias=True)
    normalize = [
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(facts["mean"], facts["std"]),
    ]
    return fit, v2.Compose(normalize)


def _on_cores(
    config: FeatureConfig,
    model: nn.Module,
    facts: dict,
    paths: Sequence[str],
    batch_size: int,
) -> Iterator[list[Tensor]]:
    from timm.models import FeatureHookNet

    fit, normalize = transforms(config, facts)
    precision = precision_on(config, torch.device("cpu"))

    def alone(piece: Sequence[str]) -> list[Tensor]:
        images = torch.stack([fit(read_pixels(path)) for path in piece])
        return forward(model, normalize(images), config.scales, precision)

    size = min(batch_size, PIECE // config.image_size**2) or 1
    cores = torch.get_num_threads()
    pieces = [paths[start : start + size] for start in range(0, len(paths), size)]
    # It keeps what its layers gave in itself.
    one_at_a_time = isinstance(model, FeatureHookNet)
    n = 1 if one_at_a_time else max(1, min(cores, batch_size, len(pieces)))
    with workers(n, cores // n) as pool:
        yield from ahead(pool, alone, pieces, 2 * n)


# ---- on a GPU


def _on_gpu(
    config: FeatureConfig,
    model: nn.Module,
    facts: dict,
    paths: Sequence[str],
    device: torch.device,
    batch_size: int,
) -> Iterator[list[Tensor]]:
    """Decode a few batches ahead, and hand out a batch while the next is inferred."""
    fit, normalize = transforms(config, facts)
    precision = precision_on(config, device)
    model = model.to(memory_format=torch.channels_last)
    begun = time.perf_counter()
    waited = 0.0
    written = 0.0
    inferred: deque[tuple[list[Tensor], torch.cuda.Event]] = deque()
    with workers(max(2, os.cpu_count() or 1)) as pool:
        pictures = ahead(pool, _pinned, paths, 2 * batch_size)
        while True:
            asked = time.perf_counter()
            batch = list(islice(pictures, batch_size))
            waited += time.perf_counter() - asked
            if batch:
                images = normalize(_fitted(fit, batch, device))
                # Libraries look for their kernels anew where a batch has another size.
                whole = images.new_zeros(min(batch_size, len(paths)), *images.shape[1:])
                whole[: len(batch)] = images
                whole = whole.contiguous(memory_format=torch.channels_last)
                levels = forward(model, whole, config.scales, precision)
                inferred.append(_fetch([values[: len(batch)] for values in levels]))
            if len(inferred) > 1 or (inferred and not batch):
                levels, there = inferred.popleft()
                there.synchronize()
                handed = time.perf_counter()
                yield levels
                written += time.perf_counter() - handed
            if not batch and not inferred:
                break
    seconds = time.perf_counter() - begun
    _tell_rates(len(paths), seconds, waited, written)


def _pinned(path: str) -> Tensor:
    """Pixels (3, h, w) in memory that a GPU copies from by itself."""
    return read_pixels(path).pin_memory()


def _fitted(fit: Callable, batch: list[Tensor], device: torch.device) -> Tensor:
    """Bytes (B, 3, H, W) on the device, of images of any sizes, one after the other."""
    return torch.stack([fit(x.to(device, non_blocking=True)) for x in batch])


def _fetch(levels: list[Tensor]) -> tuple[list[Tensor], torch.cuda.Event]:
    """Copies on the CPU, and the event after which they are there."""
    copies = []
    for values in levels:
        copy = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        copies.append(copy.copy_(values, non_blocking=True))
    there = torch.cuda.Event()
    there.record()
    return copies, there


def _tell_rates(n: int, seconds: float, waited: float, written: float) -> None:
    """Log how fast features came, and what they waited for.

    Args:
        n: Images.
        seconds: In all.
        waited: Of these, for pictures.
        written: Of these, for the disk.
    """
    rate = n / max(seconds, 1e-9)
    log.info("features of %.0f images a second", rate)
    if waited > 0.2 * seconds:
        log.info(
            "decoding is the limit: %.0f images a second are read, and the GPU would "
            "take %.0f. Smaller files, or more cores, would help.",
            rate,
            n / max(seconds - waited - written, 1e-9),
        )


# ---- work ahead


@contextmanager
def workers(n: int, cores: int = 1) -> Iterator[ThreadPoolExecutor]:
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


def ahead(
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
