"""Views of a model whose flow differs from task to task.

Some classes then have weights of their own.
"""

__all__ = ["used_weights", "views"]

import copy

import torch
from torch import Tensor

from cl_flow.model.bits import unpacked
from cl_flow.model.flow import FlowModel
from cl_flow.model.task_layers import surround_


def views(model: FlowModel) -> list[tuple[FlowModel, Tensor]]:
    """The models that a model is made of, each with the ids of the classes it is for.

    That is the model itself and all classes, unless `model.own` holds tensors under
    `<expansion>/<parameter>`. For the classes of that expansion they replace the shared
    weight, or, as a pair `….up` (n, r) and `….down` (r, m), their product is added to
    it. Parameters `levels.0.before.…` and `levels.0.after.…` are those of layers that
    only this expansion has (`cl_flow.model.task_layers`). What is not among
    `used_weights` is 0.
    """
    level = model.levels[0]
    ids = torch.arange(model.n_classes, device=level.codes.device)
    if not model.own:
        return [(model, ids)]
    blocks = level.mixture.blocks()
    sizes = [len(block["mu"]) for block in blocks]
    parts = enumerate(ids.split(sizes))
    return [(_view(model, expansion), part) for expansion, part in parts]


def used_weights(model: FlowModel, expansion: int) -> dict[str, Tensor]:
    """Which elements of a weight the classes of an expansion are scored with.

    Of a weight that is not named they use all. `model.own` says it under
    `owner/<parameter>`, where for each element stands the first expansion that may use
    it (uint8), or under `<expansion>/<parameter>.mask`, a bit for each
    (`cl_flow.model.bits`).

    Args:
        model: The model.
        expansion: Its index, from 0.

    Returns:
        A mask of the weight's shape by name of the parameter.
    """
    shapes = {name: weight.shape for name, weight in model.named_parameters()}
    used = {}
    for key, value in model.own.items():
        whose, name = key.split("/")
        if whose == "owner":
            used[name] = value <= expansion
        elif whose == str(expansion) and name.endswith(".mask"):
            name = name.removesuffix(".mask")
            used[name] = unpacked(value, shapes[name])
    return used


@torch.no_grad()
def _view(model: FlowModel, expansion: int) -> FlowModel:
    view = copy.deepcopy(model)
    own = view.own
    view.own = {}
    _add_layers_(view, [key for key in own if key.startswith(f"{expansion}/")])
    weights = dict(view.named_parameters())
    for name, used in used_weights(model, expansion).items():
        weights[name].masked_fill_(~used, 0.0)
    for key, value in own.items():
        whose, name = key.split("/")
        if whose != str(expansion) or name.endswith((".down", ".mask")):
            continue
        if name.endswith(".up"):
            weight = weights[name.removesuffix(".up")]
            down = own[key.removesuffix("up") + "down"]
            product = value @ down
            weight.add_(product.to(weight))
        else:
            weights[name].copy_(value)
    return view


def _add_layers_(view: FlowModel, keys: list[str]) -> None:
    """Give a view the layers whose parameters an expansion has."""
    align = any(".before." in key for key in keys)
    couplings = [key for key in keys if "/levels.0.after." in key]
    n_couplings = sum(key.endswith(".inner_bias") for key in couplings)
    surround_(view, align=align, n_couplings=n_couplings)
