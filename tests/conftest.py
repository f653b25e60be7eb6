"""What every test stands on: a data folder of its own, float64 on request, real
photographs where they are at hand.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Move the data folder before `cl_flow` reads where it is, and calm the threads
    before torch starts them.
    """
    folder = tempfile.TemporaryDirectory(prefix="cl_flow-tests-")
    config.add_cleanup(folder.cleanup)
    os.environ["CL_FLOW_DATA"] = folder.name
    # Tests of bits are tests of a CPU; those of a GPU ask for it.
    os.environ["CL_FLOW_DEVICE"] = "cpu"
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are taken
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("NUMBA_NUM_THREADS", "1")
    os.environ["MPLBACKEND"] = "Agg"


@pytest.fixture(autouse=True)
def no_figure_stays_open() -> Iterator[None]:
    """Close what a test drew."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """Draw the same in a test whatever ran before it."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def float64() -> Iterator[None]:
    """Make float64 torch's default within a test."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the repository: small real photographs, which the
    repository does not hold.
    """
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no real photographs at {folder}")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> "RunConfig":  # noqa: F821
    """The config of a whole run in a second: six categories of coloured noise as two
    tasks, a random backbone.
    """
    from cl_flow import FeatureConfig, FlowConfig, RunConfig, StreamConfig, TrainConfig
    from cl_flow.model import IUFConfig, UniADConfig

    small = {"side": 4, "width": 8, "n_heads": 2, "hidden": 16, "batch_images": 6}
    small |= {"n_encoder": 1, "n_decoder": 2, "epochs": 2, "lr": 1e-3}
    root = tmp_path_factory.mktemp("tiny")
    for i, name in enumerate(("ant", "bee", "cat", "dog", "elk", "fox")):
        _draw_noise(root / name, seed=i)
    return RunConfig(
        dataset="folder",
        root=str(root),
        features=FeatureConfig(
            "test_resnet",
            weights="random",
            image_size=32,
            scales=(1,),
            out_indices=(1, 2),
        ),
        whiten=12,
        stream=StreamConfig(split=3),
        flow=FlowConfig(n_blocks=2, n_components=3, position_dim=8, hidden=16),
        train=TrainConfig(epochs=2, batch_images=6, batch_patches=8, lr=1e-3),
        uniad=UniADConfig(**small),
        iuf=IUFConfig(**small, n_gate_heads=2, gate_hidden=8),
    )


def _draw_noise(folder: Path, *, seed: int) -> None:
    """A category: noise around a colour; its defects are blocks of another colour."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    color = rng.integers(60, 200, 3)
    for place, n in (("train/good", 6), ("test/good", 4), ("test/blot", 5)):
        for i in range(n):
            image = np.clip(color + rng.normal(0, 20, (32, 32, 3)), 0, 255).astype(
                np.uint8
            )
            if place == "test/blot":
                mask = np.zeros((32, 32), dtype=np.uint8)
                y, x = rng.integers(2, 18, 2)
                mask[y : y + 10, x : x + 10] = 255
                image[mask > 0] = 255 - image[mask > 0]
                _save(
                    Image.fromarray(mask),
                    folder / "ground_truth" / "blot" / f"{i:03d}_mask.png",
                )
            _save(Image.fromarray(image), folder / place / f"{i:03d}.png")


def _save(image: "Image.Image", path: Path) -> None:  # noqa: F821
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
