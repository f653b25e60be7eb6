"""Checkpoint files of HGAD's public continuation: found, read, and converted.

References:
    Continual learning for HGAD (pull request, commit a52b51c, 2025)
    https://github.com/xcyao00/HGAD/pull/5
"""

__all__ = [
    "BEST_BY",
    "CLAMP_RULES",
    "Checkpoint",
    "checkpoint_paths",
    "model_of",
    "read_checkpoint",
]

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from cl_flow.model.flow import FlowConfig, FlowModel

# In a file's name -> the metric on the task's test images that its pass was best by.
BEST_BY = {"img": "image AUROC", "pix": "pixel AUROC"}
# Log-scale of a block: in published HGAD and FrEIA 0.2, as ours, and in the later copy
# of FrEIA that the continuation brings along.
CLAMP_RULES = {"published": "α·tanh(a)", "vendored": "α·tanh(a/α)"}
FILE = re.compile(r"HGAD_(.+)_task_(\d+)_(img|pix)\.pt")
BLOCK = re.compile(r"module_list\.(\d+)\.(.+)")
# Our name of a mixture's parameter -> theirs.
MIXTURE = {
    "mu": "mus",
    "delta": "mu_deltas",
    "phi": "phi_inters",
    "psi": "phi_intras",
}
ROTATION_ERROR = 1e-3  # of w_perm · w_perm_inv, in single precision


@dataclass(frozen=True)
class Checkpoint:
    """One file: the model after one task, as the continuation keeps it.

    Args:
        path: The file.
        digest: Of its bytes.
        epoch: Pass over the task's images that it is of, from 0.
        flows: Per level the states of its `AllInOneBlock`s.
        mixtures: Per level `mu` (K, D), `delta` (K, M−1, D), `phi` (K,), `psi` (K, M).
        flow: Shape of the model, but for its clamp.
    """

    path: Path
    digest: str
    epoch: int
    flows: list[list[dict[str, Tensor]]]
    mixtures: list[dict[str, Tensor]]
    flow: FlowConfig

    @property
    def dims(self) -> tuple[int, ...]:
        """Channels D of each level."""
        return tuple(mixture["mu"].shape[1] for mixture in self.mixtures)

    @property
    def n_classes(self) -> int:
        """Number of classes K that had arrived."""
        return len(self.mixtures[0]["mu"])


def checkpoint_paths(folder: Path, best_by: str) -> list[Path]:
    """Files below a folder, task after task.

    Args:
        folder: Where they lie, each in a folder of its task or not.
        best_by: `"img"` or `"pix"`, by what they are chosen.

    Raises:
        FileNotFoundError: There is none, or a task before the last has none.
        ValueError: Several of one task.
    """
    found: dict[int, list[Path]] = {}
    for path in sorted(folder.rglob("HGAD_*.pt")):
        named = FILE.fullmatch(path.name)
        if named and named[3] == best_by:
            found.setdefault(int(named[2]), []).append(path)
    twice = [paths for paths in found.values() if len(paths) > 1]
    if twice:
        names = ", ".join(str(path) for path in twice[0])
        raise ValueError(
            f"Expected one file of each task; got {names}. Name the folder of one "
            "training."
        )
    if sorted(found) != list(range(len(found))) or not found:
        tasks = ", ".join(map(str, sorted(found))) or "none"
        raise FileNotFoundError(
            f"Expected files HGAD_<dataset>_task_<t>_{best_by}.pt below {folder}, t "
            f"from 0 on; got tasks {tasks}."
        )
    return [found[task][0] for task in sorted(found)]


# ---- one file


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a file, tensors alone, and see that it holds what it should.

    Raises:
        ValueError: It is cut short, another program's, or lacks something.
    """
    content = path.read_bytes()
    try:
        stored = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # what the reader raises depends on where a file is cut
        told = str(error).partition("\n")[0]
        raise _another(path, f"what cannot be read as tensors ({told})") from error
    keys = ("epoch", "nfs", *MIXTURE.values())
    _expect_keys(path, "a file", stored, keys)
    n_levels = len(stored["nfs"]) if isinstance(stored["nfs"], list) else 0
    if not n_levels or not isinstance(stored["epoch"], int):
        raise _another(path, f"{n_levels} levels after pass {stored['epoch']!r}")
    names = [str(level) for level in range(n_levels)]
    for key in MIXTURE.values():
        _expect_keys(path, f"{key} of {n_levels} levels", stored[key], names)
    flows = [_blocks(path, i, state) for i, state in enumerate(stored["nfs"])]
    mixtures = [
        {
            ours: _tensor(path, f"{theirs} of level {name}", stored[theirs][name])
            for ours, theirs in MIXTURE.items()
        }
        for name in names
    ]
    flow = _shape(path, flows, mixtures)
    digest = blake2b(content, digest_size=16).hexdigest()
    return Checkpoint(path, digest, stored["epoch"], flows, mixtures, flow)


def _expect_keys(path: Path, what: str, stored: Any, keys: Sequence[str]) -> None:
    """Refuse what is no dictionary of these keys."""
    if not isinstance(stored, Mapping):
        raise _another(path, f"{what} that is a {type(stored).__name__}")
    missing = [key for key in keys if key not in stored]
    if missing:
        raise _another(path, f"{what} without {', '.join(missing)}")


def _tensor(path: Path, what: str, value: Any) -> Tensor:
    """A tensor alone, of floating numbers."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise _another(path, f"{what} that is no tensor of floating numbers")
    return value.detach().float()


def _another(path: Path, what: str) -> ValueError:
    return ValueError(
        f"Expected a whole checkpoint of HGAD's continuation; got {what} in {path}. "
        "Copy the file again, or leave it out."
    )


def _blocks(path: Path, level: int, state: Any) -> list[dict[str, Tensor]]:
    """States of the blocks of one level, in their order."""
    _expect_keys(path, f"a flow of level {level}", state, [])
    blocks: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        named = BLOCK.fullmatch(key)
        if named is None:
            raise _another(path, f"an unknown tensor {key} at level {level}")
        tensor = _tensor(path, f"{key} of level {level}", value)
        blocks.setdefault(int(named[1]), {})[named[2]] = tensor
    if sorted(blocks) != list(range(len(blocks))) or not blocks:
        raise _another(path, f"blocks {sorted(blocks)} at level {level}")
    return [blocks[b] for b in sorted(blocks)]


def _shape(
    path: Path,
    flows: Sequence[Sequence[dict[str, Tensor]]],
    mixtures: Sequence[dict[str, Tensor]],
) -> FlowConfig:
    """Shape of the model that every tensor fits, but for its clamp."""
    _expect_keys(path, "block 0 of level 0", flows[0][0], list(_block_shapes(2, 4)))
    first, psi = flows[0][0]["subnet.0.weight"], mixtures[0]["psi"]
    if {first.ndim, psi.ndim, *(mixture["mu"].ndim for mixture in mixtures)} != {2}:
        raise _another(path, "subnets, centers or logits that are no matrices")
    n_blocks = len(flows[0])
    n_classes, n_components = psi.shape
    dim = mixtures[0]["mu"].shape[-1]
    position_dim = first.shape[1] - (dim - dim // 2)
    if position_dim < 4 or position_dim % 4:
        raise _another(path, f"position codes of {position_dim} channels")
    for i, (blocks, mixture) in enumerate(zip(flows, mixtures)):
        dim = mixture["mu"].shape[-1]
        shapes = _mixture_shapes(n_classes, n_components, dim)
        _expect_shapes(path, f"the mixture of level {i}", mixture, shapes)
        if len(blocks) != n_blocks:
            raise _another(path, f"{n_blocks} and {len(blocks)} blocks of two levels")
        for b, block in enumerate(blocks):
            where = f"block {b} of level {i}"
            _expect_shapes(path, where, block, _block_shapes(dim, position_dim))
            _expect_inverse(path, where, block)
    return FlowConfig(
        n_blocks=n_blocks, n_components=n_components, position_dim=position_dim
    )


def _mixture_shapes(
    n_classes: int, n_components: int, dim: int
) -> dict[str, tuple[int, ...]]:
    return {
        "mu": (n_classes, dim),
        "delta": (n_classes, n_components - 1, dim),
        "phi": (n_classes,),
        "psi": (n_classes, n_components),
    }


def _block_shapes(dim: int, position_dim: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a block's tensors; a subnet sees x₁, then the position's code."""
    half = dim // 2
    n_inputs = dim - half + position_dim
    width = 2 * n_inputs
    return {
        "global_scale": (1, dim),
        "global_offset": (1, dim),
        "w_perm": (dim, dim),
        "w_perm_inv": (dim, dim),
        "subnet.0.weight": (width, n_inputs),
        "subnet.0.bias": (width,),
        "subnet.2.weight": (2 * half, width),
        "subnet.2.bias": (2 * half,),
    }


def _expect_shapes(
    path: Path,
    where: str,
    tensors: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int, ...]],
) -> None:
    """Refuse tensors of other names or shapes, and such that are not finite."""
    _expect_keys(path, where, tensors, list(shapes))
    for name, value in tensors.items():
        if name not in shapes:
            raise _another(path, f"an unknown tensor {name} in {where}")
        shape = tuple(value.shape)
        if shape != shapes[name]:
            raise _another(path, f"{name} {shape}, not {shapes[name]}, in {where}")
        if not value.isfinite().all():
            raise _another(path, f"numbers in {name} of {where} that are not finite")


def _expect_inverse(path: Path, where: str, block: Mapping[str, Tensor]) -> None:
    """Refuse a permutation that is no rotation, or whose inverse is another's."""
    R, inverse = block["w_perm"], block["w_perm_inv"]
    eye = torch.eye(len(R), dtype=R.dtype)
    error = max(float((R @ other - eye).abs().max()) for other in (inverse, R.T))
    if error > ROTATION_ERROR:
        raise _another(
            path, f"w_perm times its inverse {error:.2g} away from I in {where}"
        )


def model_of(
    checkpoint: Checkpoint,
    config: FlowConfig,
    grids: Sequence[tuple[int, int]],
    tasks: Sequence[Sequence[str]],
    *,
    seed: int,
    rule: str,
) -> FlowModel:
    """Model that computes what a file's computes.

    Args:
        checkpoint: The file.
        config: Its shape, and its clamp α.
        grids: (height, width) of each level.
        tasks: The categories of each expansion so far.
        seed: Of the training that it is from.
        rule: Which log-scale it has, a key of `CLAMP_RULES`.
    """
    model = FlowModel(checkpoint.dims, grids, config, seed=seed)
    sizes = [len(names) for names in tasks]
    flows = zip(model.levels, checkpoint.flows, checkpoint.mixtures, strict=True)
    for level, blocks, mixture in flows:
        for ours, state in zip(level.flow, blocks, strict=True):
            cast(Any, ours).load_all_in_one_(state, divided=rule == "vendored")
        level.mixture = level.mixture.allocate_(sizes).replace(**mixture)
    model.categories = tuple(name for names in tasks for name in names)
    return model.eval()
