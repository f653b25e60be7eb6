"""Metrics of pixels in torch are those of numpy, wherever the maps are."""

import numpy as np
import pytest
import torch

from analysis import metrics
from analysis.device_metrics import ON_DEVICE, of_pixels
from tests.devices import DEVICES


def drawn(kind: str) -> tuple[np.ndarray, torch.Tensor]:
    """Masks of a few regions, and maps without ties, with many, or all alike."""
    rng = np.random.default_rng(0)
    masks = np.zeros((5, 24, 30), dtype=bool)
    masks[0, 2:9, 3:7] = masks[2, 1, 1] = masks[2, 10:20, 20:29] = True
    maps = rng.normal(size=masks.shape) + masks
    maps = {"distinct": maps, "ties": maps.round(1), "alike": 0 * maps}[kind]
    return masks, torch.from_numpy(maps.astype(np.float32))


def test_every_metric_of_pixels_is_there():
    known = {getattr(metrics, name) for name in metrics.__all__ if "pixel" in name}
    assert set(ON_DEVICE) == known | {metrics.aupro}


@pytest.mark.parametrize("kind", ["distinct", "ties", "alike"])
@pytest.mark.parametrize("metric", ON_DEVICE, ids=lambda metric: metric.__name__)
@pytest.mark.parametrize("device", DEVICES)
def test_the_value_is_numpys(metric, kind, device):
    masks, maps = drawn(kind)
    value = ON_DEVICE[metric](masks, maps.to(device))
    assert value == pytest.approx(metric(masks, maps.numpy()), abs=1e-12)
    assert of_pixels(metric, masks, maps.to(device)) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_undefined_is_refused_as_numpy_refuses_it(device):
    masks, maps = drawn("distinct")
    broken = maps.clone()
    broken[0, 0, 0] = torch.nan
    for metric in ON_DEVICE:
        with pytest.raises(ValueError, match="both classes, 0 and 1; got 0 anomalous"):
            of_pixels(metric, masks & False, maps.to(device))
        with pytest.raises(ValueError, match="finite scores; got 1 that are not"):
            of_pixels(metric, masks, broken.to(device))


@pytest.mark.parametrize("device", DEVICES)
def test_a_metric_of_ones_own_is_given_arrays(device):
    masks, maps = drawn("distinct")
    seen = of_pixels(lambda *both: [type(x) for x in both], masks, maps.to(device))
    assert seen == [np.ndarray, np.ndarray]
