"""Progress bars: text, in a notebook too.

A widget is gone with the session that drew it; a line stays in the notebook.
"""

__all__ = ["Bar"]

import sys
from typing import Any

from tqdm.std import tqdm

SHORT_SECONDS = 0.5


class Bar(tqdm):
    """tqdm's bar, which in the end is a line: how much was done, in what time.

    What took less than half a second leaves none. It takes what tqdm takes.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        # A notebook shows what a kernel writes to stderr on red.
        in_notebook = type(sys.stdout).__module__.startswith("ipykernel.")
        place = {"file": sys.stdout} if in_notebook else {}
        super().__init__(*args, **{"leave": False, **place, **options})

    def close(self) -> None:
        """Replace the bar by its line."""
        if self.disable:
            return
        seconds = self.format_dict["elapsed"]
        super().close()
        if seconds >= SHORT_SECONDS:
            done = self.n if self.total is None else f"{self.n} of {self.total}"
            title = self.desc.removesuffix(": ")
            time = self.format_interval(seconds)
            self.write(f"{title}: {done} in {time}", file=self.fp)
