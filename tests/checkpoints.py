"""Files as HGAD's public continuation writes them, of any model of ours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_flow.model.coupling import Coupling
from cl_flow.model.flow import FlowModel
from cl_flow.runs.run import Run


def all_in_one_state(block: Coupling, rule: str) -> dict[str, Tensor]:
    """State of the FrEIA block of either log-scale that computes what ours does."""
    factor = torch.ones_like(block.outer.bias)
    if rule == "vendored":
        factor[: block.split[1]] = block.clamp
    state = {
        "global_scale": block.global_scale[None],
        "global_offset": block.global_offset[None],
        "w_perm": block.rotation,
        "w_perm_inv": block.rotation.T,
        "subnet.0.weight": torch.cat([block.inner_weight, block.position_weight], 1),
        "subnet.0.bias": block.inner_bias,
        "subnet.2.weight": block.outer.weight * factor[:, None],
        "subnet.2.bias": block.outer.bias * factor,
    }
    return {key: value.detach().clone() for key, value in state.items()}


def contents(
    model: FlowModel, *, epoch: int, rule: str = "published"
) -> dict[str, Any]:
    """What a file of a model holds."""
    mixtures = [level.mixture for level in model.levels]
    kept = {"mus": "mu", "mu_deltas": "delta", "phi_inters": "phi"}
    kept["phi_intras"] = "psi"
    return {
        "epoch": epoch,
        "nfs": [
            {
                f"module_list.{b}.{key}": value
                for b, block in enumerate(level.flow)
                for key, value in all_in_one_state(block, rule).items()
            }
            for level in model.levels
        ],
        **{
            theirs: {str(i): getattr(m, ours).detach() for i, m in enumerate(mixtures)}
            for theirs, ours in kept.items()
        },
    }


def write_checkpoints(
    run: Run,
    folder: Path,
    *,
    epochs: Sequence[int],
    rule: str = "published",
    flags: Sequence[str] = ("img", "pix"),
) -> Path:
    """Files of every task of a run, in folders as the continuation has them.

    Returns:
        The folder of logs, which `config.json` would stand above.
    """
    for step, epoch in enumerate(epochs):
        place = folder / "logs" / f"task_{step}"
        place.mkdir(parents=True, exist_ok=True)
        values = contents(run[step].model(), epoch=epoch, rule=rule)
        for flag in flags:
            torch.save(values, place / f"HGAD_tiny_task_{step}_{flag}.pt")
    return folder / "logs"
