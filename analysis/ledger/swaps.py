"""The one counterfactual.

a model with a part of another, such as what it was before.
"""

__all__ = ["SWAPS", "swap"]

import copy

import torch
from torch import Tensor

from cl_flow.align.affine import frames_of
from cl_flow.calls import checked, refuse_unknown
from cl_flow.model.flow import FlowModel, Level
from cl_flow.model.mixture import Mixture

ROWS = {
    "centers": ("mu",),
    "offsets": ("delta",),
    "weights": ("phi", "psi"),
    "mixture": ("mu", "delta", "phi", "psi"),
}
SWAPS = (*ROWS, "first", "last", "flow", "mask")


@checked
@torch.no_grad()
def swap(
    recipient: FlowModel, donor: FlowModel, part: str, *, blocks: int | None = None
) -> FlowModel:
    """A copy of `recipient` with one part of `donor`.

    Args:
        recipient: The model that keeps all else.
        donor: A model of the same shape, whose classes the recipient knows.
        part: Of the donor's classes the `"centers"`, `"offsets"`, `"weights"`, or all
            of these and the frames (`"mixture"`); the `"first"` or `"last"` coupling
            blocks, or all of them (`"flow"`); or the `"mask"`: the classes that the
            donor does not know are dropped, and compete for entropy and routing no
            more.
        blocks: How many blocks, for `"first"` and `"last"`.

    Raises:
        KeyError: Unknown part, or a class of the donor that the recipient does not
            know.
        ValueError: The models differ in shape, or `blocks` is missing or too many.

    Example:
        >>> old, new = run[0].model(), run[-1].model()
        >>> hybrid = swap(new, old, "centers")
        >>> first = len(run[0].categories)
        >>> mixtures = [model.levels[0].mixture.mu[:first] for model in (hybrid, old)]
        >>> torch.equal(*mixtures)
        True
    """
    refuse_unknown("part to swap", part, SWAPS)
    n_blocks = recipient.config.n_blocks
    if (recipient.dims, recipient.grids, n_blocks) != (
        donor.dims,
        donor.grids,
        donor.config.n_blocks,
    ):
        raise ValueError(
            f"Expected models of one shape; got {_shape(recipient)} and "
            f"{_shape(donor)}."
        )
    if part in ("first", "last") and (blocks is None or not 0 <= blocks <= n_blocks):
        raise ValueError(f"Expected 0 to {n_blocks} blocks to swap; got {blocks}.")
    model = copy.deepcopy(recipient)
    ids = recipient.class_ids(donor.categories)
    places = {
        "first": range(blocks or 0),
        "last": range(n_blocks - (blocks or 0), n_blocks),
        "flow": range(n_blocks),
    }
    for level, other in zip(model.levels, donor.levels):
        if part == "mask":
            level.mixture = level.mixture.subset(ids)
        elif part in ROWS:
            level.mixture = _with_rows(level.mixture, other.mixture, ids, part)
        else:
            _take_blocks_(level, other, places[part])
    if part == "mask":
        model.categories = donor.categories
    return model


def _shape(model: FlowModel) -> str:
    return f"{model.config.n_blocks} blocks of {model.dims} channels on {model.grids}"


def _take_blocks_(level: Level, other: Level, places: range) -> None:
    for i in places:
        level.flow.module_list[i] = copy.deepcopy(other.flow.module_list[i]).to(
            level.codes
        )


def _with_rows(mixture: Mixture, other: Mixture, ids: Tensor, part: str) -> Mixture:
    """The donor's rows in the places that its classes have here."""
    values = {
        name: _set(getattr(mixture, name), ids, getattr(other, name))
        for name in ROWS[part]
    }
    mixture = mixture.replace(**values)
    if part != "mixture" or mixture.frames is other.frames is None:
        return mixture
    return mixture.framed(
        *(_set(old, ids, new) for old, new in zip(frames_of(mixture), frames_of(other)))
    )


def _set(rows: Tensor, ids: Tensor, new: Tensor) -> Tensor:
    return rows.detach().index_copy(0, ids, new.detach().to(rows))
