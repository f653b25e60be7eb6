"""Controls over a picture, which leave the picture where no kernel answers them."""

__all__ = ["DOTS", "Live", "State", "drawn", "step_slider"]

import asyncio
import io
from base64 import b64encode
from functools import lru_cache
from typing import Any

import ipywidgets as widgets
from IPython.display import display
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

DOTS = 80  # per inch
REMEMBERED = 512  # pictures
IDLE_SECONDS = 0.05  # between two pictures that are drawn ahead
TOLD = "Run this cell to move it."

# A cell has two outputs: the picture as it was at first, and the controls. A page shows
# the controls while a kernel answers them, and else the picture.
RULES = """
:root:has({alive}) .{name}-still {{ display: none }}
.jp-OutputArea-child:has(.{name}-still) + :not(:has({alive})) {{ display: none }}
"""

State = tuple[tuple[str, Any], ...]


class Live(widgets.VBox):
    """Controls over a picture that follows them.

    A notebook keeps the picture: opened again, or after a restart of its kernel, it
    stands where the controls were.

    Args:
        controls: What stands above the picture.
        step: The control of the step; while nothing happens, its other steps are drawn.
    """

    def __init__(
        self, controls: list[widgets.Widget], *, step: widgets.SelectionSlider
    ) -> None:
        self.step = step
        self.picture = widgets.Image(format="png")
        self.picture.layout.max_width = "100%"
        self._png = lru_cache(REMEMBERED)(self._drawn)
        super().__init__([*controls, self.picture])
        self._name = f"cl-flow-{self.model_id}"
        self.add_class(self._name)

    def figure(self) -> Figure:
        """The picture that is shown, as a figure of its own."""
        return self._figure(self._state())

    def _state(self) -> State:
        """What is chosen, by its name."""
        raise NotImplementedError

    def _figure(self, state: State) -> Figure:
        """The picture of what is chosen."""
        raise NotImplementedError

    def _ipython_display_(self) -> None:
        display(self._still(), raw=True)
        display(self._controls(), raw=True)

    def _still(self) -> dict[str, str]:
        """The picture as it is now, by itself."""
        png = b64encode(self.picture.value).decode()
        alive = f".{self._name}:not(.jupyter-widgets-disconnected)"
        rules = RULES.format(name=self._name, alive=alive)
        page = (
            f'<div class="{self._name}-still"><style>{rules}</style>'
            f'<img src="data:image/png;base64,{png}" style="max-width: 100%">'
            f"<p>{TOLD}</p></div>"
        )
        return {"text/html": page, "image/png": png, "text/plain": TOLD}

    def _controls(self) -> dict[str, Any]:
        """The widget, where there are widgets, and else nothing."""
        bundle = self._repr_mimebundle_() or {}
        return bundle | {"text/plain": ""}

    def _show(self) -> None:
        self.picture.value = self._png(self._state())
        self._draw_ahead([step for _, step in self.step.options])

    def _draw_ahead(self, steps: list[int]) -> None:
        """Draw the other steps of what is shown, one whenever the kernel is idle."""
        shown = self._state()

        def draw() -> None:
            if steps and self._state() == shown:
                choice = dict(shown) | {"step": steps.pop(0)}
                self._png(tuple(choice.items()))
                loop.call_later(IDLE_SECONDS, draw)

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # outside of a notebook, nothing is ever idle
            return
        loop.call_later(IDLE_SECONDS, draw)

    def _drawn(self, state: State) -> bytes:
        return drawn(self._figure(state))


def drawn(figure: Figure) -> bytes:
    """A figure as PNG; faster than it is small."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    data = io.BytesIO()
    imsave(data, canvas.buffer_rgba(), pil_kwargs={"compress_level": 1})
    return data.getvalue()


def step_slider() -> widgets.SelectionSlider:
    """A slider over tasks learned, which is told later which there are."""
    return widgets.SelectionSlider(options=[""], description="after task")
