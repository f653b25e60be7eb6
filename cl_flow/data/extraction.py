"""Features of samples, extracted once and kept on disk."""

__all__ = ["fingerprint", "load_features"]

import dataclasses
import errno
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from torch import Tensor, nn

from cl_flow.calls import checked
from cl_flow.data.backbones import FeatureConfig, backbone_facts, load_backbone
from cl_flow.data.features import Features
from cl_flow.data.inference import infer, precision_on
from cl_flow.data.store import BrokenCache, checksums, open_levels, open_whole
from cl_flow.devices import pick_device
from cl_flow.identity import digest_of
from cl_flow.paths import DATA, atomic, folder_name, sweep
from cl_flow.progress import Bar

log = logging.getLogger(__name__)

# Of these, a pixel in the middle changes neither end.
WITHOUT_CHECKSUM = (".bmp", ".tif", ".tiff")


@checked
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
        ValueError: No samples, a batch of none, or features that are not finite.

    Example:
        >>> features = load_features(run.features.samples, run.config.features)
        >>> len(features) == len(run.features)
        True
    """
    config = config or FeatureConfig()
    if not len(samples):
        raise ValueError("Expected at least one sample; got an empty table.")
    facts = {
        **dataclasses.asdict(config),
        **backbone_facts(config),
        "data": fingerprint(samples),
        "images": len(samples),
    }
    hidden = {"source", "weights"}
    if config.precision is None:
        hidden.add("precision")
    identity = {key: value for key, value in facts.items() if key not in hidden}
    dataset = folder_name(str(samples["dataset"].iloc[0]))
    backbone = config.backbone.split(".")[0]
    key = digest_of(identity, 8)
    folder = Path(root) / f"{dataset}-{backbone}-{config.image_size}px-{key}"
    known = open_whole(folder)
    if known is None:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            known = open_whole(folder)
            sweep(folder)
            if known is None:
                if (folder / "complete.json").is_file():  # of what is broken, nothing
                    (folder / "progress.json").unlink(missing_ok=True)
                    (folder / "complete.json").unlink()
                device = pick_device(device)
                model, _ = load_backbone(config)
                facts["precision"] = precision_on(config, device)
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
                known = open_whole(folder)
    if known is None:
        raise OSError(f"Expected features that can be read again; got broken {folder}.")
    levels, told = known
    return Features(
        samples.reset_index(drop=True),
        levels,
        tuple(map(tuple, told["grids"])),
        np.arange(len(samples)),
        folder,
    )


def fingerprint(samples: pd.DataFrame, *, masks: bool = False) -> str:
    """Digest of the images, and of their masks if asked.

    Name, size and both ends of each file, which hold every compressed format's
    checksums; of the others, the whole file.
    """
    digest = blake2b(digest_size=16)
    columns = ["image_path", "mask_path"] if masks else ["image_path"]
    for column in columns:
        for path, category, defect in zip(
            samples[column], samples["category"], samples["defect"]
        ):
            if not path:
                continue
            name = f"{category}/{defect}/{Path(path).name}"
            digest.update(_telling_bytes(name, Path(path)))
    return digest.hexdigest()


def _telling_bytes(name: str, path: Path) -> bytes:
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        told = f"{name}:{size}".encode()
        if path.suffix.lower() in WITHOUT_CHECKSUM:
            return told + file.read()
        head = file.read(4096)
        file.seek(max(0, size - 4096))
        return told + head + file.read(4096)


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
    precision = facts["precision"]
    done, grids, levels = _begun(folder, precision)
    saved = time.monotonic()
    paths = list(samples["image_path"])
    bar = Bar(
        total=len(paths),
        initial=done,
        desc="features",
        unit="image",
        disable=not progress,
    )
    inferred = infer(config, model, facts, paths[done:], device, batch_size)
    with bar, closing(inferred):
        try:
            for features in inferred:
                n = len(features[0])
                _check_finite(features, paths[done : done + n], config)
                if levels is None:
                    grids = [tuple(values.shape[1:3]) for values in features]
                    shapes = [
                        (len(paths), math.prod(values.shape[1:3]), values.shape[3])
                        for values in features
                    ]
                    levels = _allocate(folder, shapes)
                for level, values in zip(levels, features, strict=True):
                    level[done : done + n] = values.flatten(1, 2).numpy()
                done += n
                bar.update(n)
                if time.monotonic() > saved + 1:
                    _checkpoint(folder, levels, done, grids, precision)
                    saved = time.monotonic()
        finally:
            if levels is not None:
                _checkpoint(folder, levels, done, grids, precision)
    facts = {**facts, "grids": grids, "crc32": checksums(folder, len(grids))}
    with atomic(folder / "complete.json") as path:
        path.write_text(json.dumps(facts, indent=1))


def _check_finite(
    levels: list[Tensor], paths: Sequence[str], config: FeatureConfig
) -> None:
    for values in levels:
        # A half is infinite, or none, where its five bits of exponent are all set.
        bits = values.flatten(1).view(torch.int16) & 0x7C00
        broken = bits.amax(1) == 0x7C00
        if broken.any():
            path = paths[int(broken.nonzero()[0])]
            raise ValueError(
                f"Expected features that half precision can hold, up to 65504; got "
                f"infinite ones, or none, of {path} under {config.backbone} at stages "
                f"{config.out_indices}. Choose other stages, weights or another "
                "backbone."
            )


def _begun(
    folder: Path, precision: str
) -> tuple[int, list[tuple[int, int]] | None, tuple[np.memmap, ...] | None]:
    """Images, grids and levels of an interrupted extraction.

    None of a broken one, nor of one that computed at another precision.
    """
    state = folder / "progress.json"
    if not state.is_file():
        return 0, None, None
    try:
        values = json.loads(state.read_text())
        if values.get("precision", precision) == precision:
            levels = open_levels(folder, len(values["grids"]), mode="r+")
            return values["done"], values["grids"], levels
        log.warning("extraction begins anew, in %s: %s", precision, folder)
    except (BrokenCache, ValueError, KeyError) as error:
        log.warning("extraction begins anew: %s (%s)", state, error)
    return 0, None, None


def _allocate(
    folder: Path, shapes: list[tuple[int, int, int]]
) -> tuple[np.memmap, ...]:
    need = sum(2 * math.prod(shape) for shape in shapes)
    for path in folder.glob("level*.npy"):
        path.unlink()  # of an extraction that begins anew
    free = shutil.disk_usage(folder).free
    log.info("features of %d images: %.2f GB in %s", shapes[0][0], need / 1e9, folder)
    if need > 0.95 * free:
        raise OSError(
            f"Expected {need / 1e9:.1f} GB of free disk for the features; got "
            f"{free / 1e9:.1f} GB at {folder}. "
            "Point CL_FLOW_DATA at a larger disk, or take a smaller image_size."
        )
    levels = []
    for i, shape in enumerate(shapes):
        path = folder / f"level{i}.npy"
        levels.append(np.lib.format.open_memmap(path, "w+", np.float16, shape))
        _take_space(path)
    return tuple(levels)


def _take_space(path: Path) -> None:
    """Have the disk hold every byte of a sparse file.

    A disk that fills later, by another's doing, would end the process at a write to
    memory.

    Raises:
        OSError: The disk is full.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with open(path, "rb+") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                return  # a file system that cannot take space beforehand
            for level in path.parent.glob("level*.npy"):
                level.unlink()
            raise OSError(
                error.errno,
                f"No space for the features of {path.parent}: {error.strerror}. Point "
                "CL_FLOW_DATA at a larger disk, or take a smaller image_size",
            ) from error


def _checkpoint(
    folder: Path,
    levels: Sequence[np.memmap],
    done: int,
    grids: Sequence[tuple[int, int]],
    precision: str,
) -> None:
    for level in levels:
        level.flush()
    with atomic(folder / "progress.json") as path:
        path.write_text(
            json.dumps({"done": done, "grids": grids, "precision": precision})
        )
