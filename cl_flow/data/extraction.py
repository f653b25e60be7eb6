"""Frozen timm features of samples, extracted once and kept on disk as float16 memory maps, one file per level."""

__all__ = ["FeatureConfig", "Features", "load_backbone", "load_features", "union"]

import dataclasses
import json
import logging
import math
import os
import shutil
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import huggingface_hub
import numpy as np
import pandas as pd
import timm
import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor, nn
from torchvision.transforms import v2
from tqdm.auto import tqdm

from cl_flow.flow import pick_device
from cl_flow.images import read_image
from cl_flow.paths import ASSETS, DATA, atomic

PIECE = 2**18  # pixels that a core infers at a time: what a layer hands to the next then stays in its cache

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureConfig:
    """What is extracted: every stage of `out_indices` at every size of the image pyramid; the defaults are HGAD's.

    Args:
        backbone: timm model name with its weight tag (the untagged name changed weights between versions).
        weights: File of weights, absolute or below the data folder; None looks in the local cache, then on the hub;
            `"random"` draws them from seed 0 (for trying shapes).
        image_size: Side in pixels that images are resized to.
        scales: The pyramid: the image is scaled by 1/s for each s.
        out_indices: Stages of the backbone that become levels.
    """

    backbone: str = "tf_efficientnet_b6.aa_in1k"
    weights: str | None = None
    image_size: int = 1024
    scales: tuple[int, ...] = (1, 2, 4)
    out_indices: tuple[int, ...] = (3,)


@dataclass(frozen=True)
class Features:
    """Samples and, per level, their patch features.

    Args:
        samples: One row per image (see `cl_flow.datasets`).
        levels: Per level an array (images on file, H·W, D), usually a memory map.
        grids: Per level (H, W).
        rows: Row on file of each sample.
        folder: Where the arrays lie; None for arrays in memory.
    """

    samples: pd.DataFrame
    levels: tuple[np.ndarray, ...]
    grids: tuple[tuple[int, int], ...]
    rows: np.ndarray
    folder: Path | None = None

    @property
    def dims(self) -> tuple[int, ...]:
        """Channels D of each level."""
        return tuple(level.shape[-1] for level in self.levels)

    @property
    def categories(self) -> list[str]:
        """Categories present, in order of first appearance."""
        return list(dict.fromkeys(self.samples["category"]))

    def __len__(self) -> int:
        return len(self.samples)

    def where(self, **values: object) -> "Features":
        """The images whose columns hold the given values: `features.where(split="train", category="bottle")`.

        A list, tuple or set selects every value in it.
        """
        keep = np.ones(len(self), dtype=bool)
        for column, value in values.items():
            wanted = value if isinstance(value, (list, tuple, set)) else [value]
            keep &= self.samples[column].isin(wanted).to_numpy()
        return self.take(np.flatnonzero(keep))

    def take(self, indices: Sequence[int]) -> "Features":
        """The images at the given positions."""
        samples = self.samples.iloc[indices].reset_index(drop=True)
        return dataclasses.replace(self, samples=samples, rows=self.rows[np.asarray(indices, dtype=int)])

    def read(self, indices: Sequence[int] | slice = slice(None)) -> list[Tensor]:
        """Per level the features (images, H·W, D) of the images at the given positions, in the stored precision."""
        rows = self.rows[indices]
        return [torch.from_numpy(np.asarray(level[rows])) for level in self.levels]

    def batches(self, size: int = 32) -> Iterator[list[Tensor]]:
        """`read` in consecutive batches of `size` images."""
        for start in range(0, len(self), size):
            yield self.read(slice(start, start + size))

    def whitened(self, dim: int, *, fit_on: Sequence[str], shrinkage: float = 1e-3) -> "Features":
        """Each level's `dim` leading principal directions at unit variance, kept on disk beside the original.

        Args:
            dim: Channels to keep; levels with fewer keep what they have.
            fit_on: Categories whose normal training images decide the directions: those of the first task.
            shrinkage: Added to the variances, as a share of the largest.
        """
        facts = {
            "whitened": dim,
            "fit_on": sorted(fit_on),
            "shrinkage": shrinkage,
            "of": str(self.folder and self.folder.name),
        }
        folder = (
            None if self.folder is None else self.folder.with_name(f"{self.folder.name}-w{dim}-{_digest(facts, 6)}")
        )
        if folder is None or not (folder / "complete.json").is_file():
            training = self.where(split="train", label=0, category=list(fit_on))
            if not len(training):
                raise ValueError(f"Expected normal training images of {sorted(fit_on)} to whiten with; got none.")
            maps = [_principal(level[training.rows], dim, shrinkage) for level in self.levels]
            levels = tuple(_project(level, *m) for level, m in zip(self.levels, maps))
            if folder is None:
                return dataclasses.replace(self, levels=levels)
            _store(folder, levels, facts)
        return dataclasses.replace(self, levels=_open_levels(folder, len(self.levels)), folder=folder)

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>{self.samples.groupby(['category', 'split']).size().unstack().to_html()}"

    def __repr__(self) -> str:
        levels = ", ".join(f"{h}×{w}×{dim}" for (h, w), dim in zip(self.grids, self.dims))
        return f"Features({len(self)} images of {len(self.categories)} categories; levels {levels})"


def union(parts: Sequence[Features]) -> Features:
    """The images of several selections of the same features, in order."""
    if not parts or any(part.levels is not parts[0].levels for part in parts):
        raise ValueError("Expected selections of the same features; got none, or features of different extractions.")
    samples = pd.concat([part.samples for part in parts], ignore_index=True)
    return dataclasses.replace(parts[0], samples=samples, rows=np.concatenate([part.rows for part in parts]))


# ---- whitening


def _principal(x: np.ndarray, dim: int, shrinkage: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and whitening matrix (D, d) of patches (…, D)."""
    x = x.reshape(-1, x.shape[-1]).astype(np.float64)
    mean = x.mean(0)
    variance, directions = np.linalg.eigh(np.cov(x.T - mean[:, None]).reshape(x.shape[1], -1))
    order = np.argsort(variance)[::-1][:dim]
    variance = variance[order] + shrinkage * variance.max()
    signs = np.sign(directions[np.abs(directions).argmax(0), range(len(directions))])[order]
    return mean, directions[:, order] * signs / np.sqrt(variance)


def _project(level: np.ndarray, mean: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    out = np.empty((*level.shape[:-1], matrix.shape[1]), dtype=np.float16)
    for start in range(0, len(level), 64):
        chunk = level[start : start + 64].astype(np.float32)
        out[start : start + 64] = (chunk - mean.astype(np.float32)) @ matrix.astype(np.float32)
    return out


# ---- the backbone


def load_backbone(config: FeatureConfig) -> tuple[nn.Module, dict]:
    """The frozen backbone in evaluation mode, and its facts: `source`, `sha`, `mean`, `std`, `interpolation`.

    Weights come from the explicit file, else from the local cache, else from the hub; the log says which.

    Raises:
        FileNotFoundError: The explicit file is not there.
        ConnectionError: No weights in the cache, and the hub is out of reach or switched off.
        ValueError: timm does not know the name.
    """
    name = config.backbone
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name.split('.')[0][:8]}*")[:6]) or "see timm.list_models()"
        raise ValueError(f"Unknown timm model {name!r}; known, for example: {close}.")
    path = None if config.weights == "random" else _find_weights(config)
    overlay = {} if path is None else {"pretrained_cfg_overlay": {"file": str(path)}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(
            name, pretrained=path is not None, features_only=True, out_indices=config.out_indices, **overlay
        )
    facts = {key: model.pretrained_cfg[key] for key in ("mean", "std", "interpolation")}
    sha = "random" if path is None else blake2b(path.read_bytes(), digest_size=16).hexdigest()
    source = "drawn from seed 0" if path is None else str(path)
    log.info("backbone %s: weights %s", name, source)
    return model.eval().requires_grad_(False), {**facts, "source": source, "sha": sha}


def _find_weights(config: FeatureConfig) -> Path:
    if config.weights is not None:
        places = [Path(config.weights).expanduser(), DATA / config.weights, ASSETS / config.weights]
        for place in places:
            if place.is_file():
                return place
        raise FileNotFoundError(
            f"Expected a file of weights; got {config.weights!r}, found neither there nor in {DATA}."
        )
    cfg = timm.models.get_pretrained_cfg(config.backbone)
    repository, file = cfg.hf_hub_id, cfg.hf_hub_filename or "model.safetensors"
    for name in (file, "model.safetensors", "pytorch_model.bin"):
        cached = huggingface_hub.try_to_load_from_cache(repository, name)
        if isinstance(cached, str):
            return Path(cached)
    return _download(config.backbone, repository, file)


def _download(backbone: str, repository: str, file: str) -> Path:
    """From the hub, if it answers within seconds: its client would retry for a minute where there is no network."""
    endpoint = huggingface_hub.constants.ENDPOINT
    way_out = f"put {repository}'s {file} on this machine and name it in FeatureConfig(weights=…)"
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise ConnectionError(f"No weights of {backbone!r} in the local cache, and HF_HUB_OFFLINE is set; {way_out}.")
    try:
        address = urlsplit(endpoint)
        socket.create_connection((address.hostname, address.port or 443), timeout=3).close()
    except OSError as error:
        raise ConnectionError(
            f"No weights of {backbone!r} in the local cache, and {endpoint} is out of reach ({error}); {way_out}."
        ) from error
    return Path(huggingface_hub.hf_hub_download(repository, file))


# ---- extraction and its cache


def load_features(
    samples: pd.DataFrame,
    config: FeatureConfig | None = None,
    *,
    root: str | Path = DATA / "features",
    device: str | torch.device | None = None,
    batch_size: int = 32,
    progress: bool = True,
) -> Features:
    """Features of the samples, from disk or extracted now; an interrupted extraction goes on where it stopped.

    The folder is keyed by backbone, weights, transform and the images' bytes.

    Args:
        samples: One row per image.
        config: What to extract.
        root: Folder of all feature caches.
        device: Where the backbone runs; None takes the GPU when there is one.
        batch_size: Images per forward pass, at most; on a CPU, no more cores than that infer at a time.
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
    facts = {**dataclasses.asdict(config), **facts, "data": fingerprint(samples), "images": len(samples)}
    identity = {key: value for key, value in facts.items() if key not in ("source", "weights")}
    dataset = samples["dataset"].iloc[0]
    folder = Path(root) / f"{dataset}-{config.backbone.split('.')[0]}-{config.image_size}px-{_digest(identity, 8)}"
    if not (folder / "complete.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if not (folder / "complete.json").is_file():
                device = pick_device(device)
                _extract(samples, config, model.to(device), facts, folder, device, batch_size, progress)
    grids = json.loads((folder / "complete.json").read_text())["grids"]
    levels = _open_levels(folder, len(grids))
    return Features(samples.reset_index(drop=True), levels, tuple(map(tuple, grids)), np.arange(len(samples)), folder)


def fingerprint(samples: pd.DataFrame) -> str:
    """Digest of the images: name, size and both ends of each file, which hold every compressed format's checksums."""
    digest = blake2b(digest_size=16)
    for path, category, defect in zip(samples["image_path"], samples["category"], samples["defect"]):
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            head = file.read(4096)
            file.seek(max(0, size - 4096))
            digest.update(f"{category}/{defect}/{Path(path).name}:{size}".encode() + head + file.read(4096))
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
    levels, saved = _open_levels(folder, len(grids), mode="r+") if grids else None, time.monotonic()
    paths = list(samples["image_path"])
    bar = tqdm(total=len(paths), initial=done, desc="features", unit="image", disable=not progress)
    inferred = _inferred(config, model, facts, paths[done:], device, batch_size)
    with bar, closing(inferred):
        try:
            for features in inferred:
                n = len(features[0])
                if levels is None:
                    grids = [tuple(values.shape[2:]) for values in features]
                    shapes = [(len(paths), math.prod(values.shape[2:]), values.shape[1]) for values in features]
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
    config: FeatureConfig, model: nn.Module, facts: dict, paths: Sequence[str], device: torch.device, batch_size: int
) -> Iterator[list[Tensor]]:
    """Per level the features (B, D, H, W) of consecutive images, some at a time.

    On a CPU every core decodes and infers a few images alone, so that none waits for another; how many does not depend
    on the number of cores, nor do the bits. A GPU infers whole batches, while the next ones are decoded.
    """
    fit, normalize = _transforms(config, facts)

    def decode(piece: Sequence[str]) -> Tensor:
        return torch.stack([fit(read_image(path)) for path in piece])

    def alone(piece: Sequence[str]) -> list[Tensor]:
        return _forward(model, normalize(decode(piece)), config.scales)

    if device.type == "cpu":
        size, cores = min(batch_size, PIECE // config.image_size**2) or 1, torch.get_num_threads()
        pieces = [paths[start : start + size] for start in range(0, len(paths), size)]
        one_at_a_time = isinstance(model, timm.models.FeatureHookNet)  # it keeps what its layers gave in itself
        n = 1 if one_at_a_time else max(1, min(cores, batch_size, len(pieces)))
        with _workers(n, cores // n) as pool:
            yield from _ahead(pool, alone, pieces, 2 * n)
    else:
        with _workers(max(2, os.cpu_count() or 1)) as pool:
            images = _ahead(pool, decode, [[path] for path in paths], 2 * batch_size)
            while batch := list(islice(images, batch_size)):
                yield _forward(model, normalize(torch.cat(batch).to(device)), config.scales)


@contextmanager
def _workers(n: int, cores: int = 1) -> Iterator[ThreadPoolExecutor]:
    """Threads that compute on so many cores each; what they have not begun when one leaves is never done."""
    pool = ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(cores,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(torch.get_num_threads())  # or every new thread would compute on as few


def _ahead(pool: ThreadPoolExecutor, function: Callable[[Any], Any], items: Iterable, n: int) -> Iterator:
    """The function of each item in order, `n` items ahead of the one that is asked for."""
    items = iter(items)
    waiting = deque(pool.submit(function, item) for item in islice(items, n))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(function, item) for item in islice(items, 1))
        yield result


def _transforms(config: FeatureConfig, facts: dict) -> tuple[v2.Compose, v2.Compose]:
    """From a picture to pixels of the wanted size, and from such images (B, 3, H, W) to what the backbone takes."""
    mode = v2.InterpolationMode(facts["interpolation"])
    fit = [v2.ToImage(), v2.Resize((config.image_size, config.image_size), interpolation=mode, antialias=True)]
    normalize = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(facts["mean"], facts["std"])]
    return v2.Compose(fit), v2.Compose(normalize)


@torch.inference_mode()
def _forward(model: nn.Module, images: Tensor, scales: Sequence[int]) -> list[Tensor]:
    """Every stage of every scale (B, D, H, W); smaller scales are resampled as HGAD does."""
    out: list[Tensor] = []
    for scale in scales:
        size = [side // scale for side in images.shape[-2:]]
        small = images if scale == 1 else F.interpolate(images, size=size, mode="bilinear", align_corners=True)
        out += model(small)
    return [values.half() for values in out]


def _progress(folder: Path) -> tuple[int, list[tuple[int, int]] | None]:
    """How many images an interrupted extraction has left, and the grids of its levels."""
    state = folder / "progress.json"
    if not state.is_file():
        return 0, None
    values = json.loads(state.read_text())
    return values["done"], values["grids"]


def _allocate(folder: Path, shapes: list[tuple[int, int, int]]) -> tuple[np.memmap, ...]:
    need, free = sum(2 * math.prod(shape) for shape in shapes), shutil.disk_usage(folder).free
    log.info("features of %d images: %.2f GB in %s", shapes[0][0], need / 1e9, folder)
    if need > 0.95 * free:
        raise OSError(
            f"Expected {need / 1e9:.1f} GB of free disk for the features; got {free / 1e9:.1f} GB at {folder}. "
            "Point CL_FLOW_DATA at a larger disk, or take a smaller image_size."
        )
    return tuple(np.lib.format.open_memmap(folder / f"level{i}.npy", "w+", np.float16, s) for i, s in enumerate(shapes))


def _checkpoint(folder: Path, levels: Sequence[np.memmap], done: int, grids: Sequence[tuple[int, int]]) -> None:
    for level in levels:
        level.flush()
    with atomic(folder / "progress.json") as path:
        path.write_text(json.dumps({"done": done, "grids": grids}))


def _store(folder: Path, levels: Sequence[np.ndarray], facts: dict) -> None:
    for i, level in enumerate(levels):
        with atomic(folder / f"level{i}.npy") as path:
            np.save(path, level)
    with atomic(folder / "complete.json") as path:
        path.write_text(json.dumps(facts, indent=1))


def _open_levels(folder: Path, n: int, mode: str = "r") -> tuple[np.memmap, ...]:
    return tuple(np.load(folder / f"level{i}.npy", mmap_mode=mode) for i in range(n))


def _digest(facts: object, length: int) -> str:
    return blake2b(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:length]
