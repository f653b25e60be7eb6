"""Snapshot: the model after one task, on disk."""

__all__ = ["Snapshot"]

import dataclasses
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cl_flow.model.base import Model
from cl_flow.model.flow import FlowModel
from cl_flow.model.models import MODELS
from cl_flow.paths import FileState, atomic, file_state
from cl_flow.runs.config import build_config

# Snapshots whose checksum was verified in this session, in their state of then.
_VERIFIED: set[FileState] = set()


@dataclass(frozen=True)
class Snapshot:
    """Model after one task, on disk.

    Args:
        path: The safetensors file.
        step: Index of the last task learned.

    Example:
        >>> snapshot = run[0]
        >>> snapshot.model().n_classes == len(snapshot.categories)
        True
    """

    path: Path
    step: int

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Shape of the model and the categories it knows, in order of arrival."""
        with self._opened() as file:
            return json.loads(file.metadata()["cl_flow"])

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories that the model has learned."""
        return tuple(self.facts["categories"])

    def model(self, device: str | torch.device = "cpu") -> Any:
        """New copy of the model, in evaluation mode.

        A FlowModel, or what else the run trains (`cl_flow.model.models.MODELS`).
        """
        self.verify()
        facts = self.facts
        kind = MODELS[facts.get("model", FlowModel.name)]
        config = build_config(kind.Config, facts["config"])
        dims, grids = facts["dims"], facts["grids"]
        model = kind(dims, grids, config, seed=facts["seed"])
        tensors = self._tensors("model.")
        model.grow_(facts, tensors)
        model.categories = self.categories
        model.load_state_dict(tensors)
        own = self._tensors("own.")
        model.own = {key: value.to(device) for key, value in own.items()}
        return model.to(device).eval()

    def memory(self) -> dict[str, Tensor]:
        """Tensors that the strategy keeps between tasks."""
        self.verify()
        return self._tensors("memory.")

    @property
    def kept_bytes(self) -> int:
        """Bytes that the strategy keeps for the next task beside the model.

        They are its memory, and weights of single tasks.
        """
        kept = [*self.memory().values(), *self._tensors("own.").values()]
        return sum(value.nbytes for value in kept)

    def verify(self) -> None:
        """Compare what is on disk with its checksum, once in a session.

        Raises:
            ValueError: It is cut short, or not what was written.
        """
        state = file_state(self.path)
        if state in _VERIFIED:
            return
        expected = self.facts.get("crc32")
        if expected not in (None, _checksum(self._tensors(""))):
            raise _broken(self, "another checksum than it was written with")
        _VERIFIED.add(state)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            with safe_open(self.path, framework="pt") as file:
                yield file
        except (SafetensorError, json.JSONDecodeError, KeyError) as error:
            raise _broken(self, str(error)) from error

    def _tensors(self, prefix: str) -> dict[str, Tensor]:
        with self._opened() as file:
            return {
                key.removeprefix(prefix): file.get_tensor(key)
                for key in file.keys()
                if key.startswith(prefix)
            }

    @staticmethod
    def write(path: Path, model: Model, memory: Mapping[str, Tensor]) -> None:
        """Save a model and a strategy's memory, whole or not at all."""
        facts = {
            "dims": model.dims,
            "grids": model.grids,
            "seed": model.seed,
            "categories": model.categories,
            "config": dataclasses.asdict(model.config),
            **model.growth(),
        }
        tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
        tensors |= {f"own.{key}": value for key, value in model.own.items()}
        tensors |= {f"memory.{key}": value for key, value in memory.items()}
        for key, value in tensors.items():
            tensors[key] = value.detach().cpu().contiguous().clone()
        facts["crc32"] = _checksum(tensors)
        with atomic(path) as temporary:
            save_file(tensors, temporary, metadata={"cl_flow": json.dumps(facts)})

    def __repr__(self) -> str:
        return f"Snapshot(step {self.step}: {len(self.categories)} classes)"


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """Checksum of names and bytes."""
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(name.encode(), value)
        value = zlib.crc32(tensors[name].contiguous().view(-1).numpy().data, value)
    return value


def _broken(snapshot: Snapshot, what: str) -> ValueError:
    return ValueError(
        f"Expected the model after step {snapshot.step}, whole; got {what} in "
        f"{snapshot.path}. Delete the file: fit(run.config) learns on from the step "
        "before."
    )
