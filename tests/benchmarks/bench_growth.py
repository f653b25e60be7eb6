"""How a step's time grows with the number of classes, components, channels, levels and
images: log-log slopes.
"""

import dataclasses

import numpy as np
import pytest

from cl_flow.model.kernels.couplings import reuse_memory
from tests.benchmarks.bench_step import our_step
from tests.benchmarks.conftest import keep, on_a_cpu, timed
from tests.benchmarks.sizes import SIZES, Size

BASE = dataclasses.replace(SIZES["synthetic"], grids=((16, 16),))
WIDE = dataclasses.replace(BASE, dim=256)  # tiled centers have room for D classes


def with_components(n: int) -> Size:
    return dataclasses.replace(
        BASE, config=dataclasses.replace(BASE.config, n_components=n)
    )


GROWTH = {
    "classes": {n: dataclasses.replace(WIDE, n_classes=n) for n in (3, 15, 60, 240)},
    "components": {n: with_components(n) for n in (2, 10, 40)},
    "channels": {n: dataclasses.replace(BASE, dim=n) for n in (32, 64, 128, 256)},
    "levels": {n: dataclasses.replace(BASE, grids=((16, 16),) * n) for n in (1, 2, 4)},
    "images": {n: dataclasses.replace(BASE, n_images=n) for n in (8, 32, 128)},
}


@on_a_cpu
@pytest.mark.parametrize("name", GROWTH)
def test_growth_of_a_step(benchmark, one_thread, device, name):
    """0 is free, 1 is proportional."""
    with reuse_memory():
        steps = {n: our_step(size, device) for n, size in GROWTH[name].items()}
        rounds = [[timed(step) for step in steps.values()] for _ in range(31)][3:]
    seconds = np.median(rounds, axis=0)
    keep(
        benchmark,
        f"exponent in the number of {name}",
        np.polyfit(np.log(list(steps)), np.log(seconds), 1)[0],
    )
    for n, value in zip(steps, seconds):
        keep(benchmark, f"ms at {n} {name}", 1000 * value)
    benchmark.pedantic(next(iter(steps.values())))
