"""A cell keeps the picture for when no kernel answers its controls."""

import base64
import re

import pytest
from matplotlib.figure import Figure

from analysis import live
from analysis.live import Live, State, step_slider


class Steps(Live):
    """A line as long as the step."""

    def __init__(self) -> None:
        step = step_slider()
        step.options = [("1", 0), ("2", 1)]
        super().__init__([step], step=step)
        step.observe(lambda change: self._show(), "value")
        self._show()

    def _state(self) -> State:
        return (("step", self.step.value),)

    def _figure(self, state: State) -> Figure:
        figure = Figure(figsize=(2, 1), dpi=50)
        figure.subplots().plot([0, dict(state)["step"]])
        return figure


@pytest.fixture
def shown(monkeypatch) -> list[dict]:
    """What is displayed, in the order of the outputs."""
    bundles: list[dict] = []
    monkeypatch.setattr(live, "display", lambda one, raw: bundles.append(one))
    return bundles


def test_a_cell_shows_the_picture_and_then_the_controls(shown):
    steps = Steps()
    steps._ipython_display_()
    still, controls = shown
    assert base64.b64decode(still["image/png"]) == steps.picture.value
    assert still["image/png"] in still["text/html"]
    view = controls["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == steps.model_id


def test_a_page_without_widgets_shows_one_picture_and_one_line(shown):
    Steps()._ipython_display_()
    still, controls = shown
    assert re.findall("<p>(.*)</p>", still["text/html"]) == [live.TOLD]
    others = {kind: text for kind, text in controls.items() if "widget" not in kind}
    assert others == {"text/plain": ""}


def test_rules_speak_of_this_picture_alone(shown):
    one, two = Steps(), Steps()
    one._ipython_display_()
    (name,) = one._dom_classes
    rules = shown[0]["text/html"]
    assert name in rules and two._dom_classes[0] not in rules
    assert f'class="{name}-still"' in rules


def test_the_picture_follows_its_controls_and_what_was_drawn_is_remembered():
    steps = Steps()
    first = steps.picture.value
    steps.step.value = 1
    assert steps.picture.value != first
    steps.step.value = 0
    assert steps.picture.value == first
    assert steps._png.cache_info().misses == 2
