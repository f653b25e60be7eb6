"""In a real browser explorers show, move and hear clicks; after a restart of the kernel
or in a notebook that is opened again their pictures stand.

`CL_FLOW_SCREENSHOTS=folder` keeps what they look like, of the run in the folder
`CL_FLOW_SCREENSHOTS_OF` if there is one.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from cl_flow import RunConfig, fit

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytest.importorskip("ipyevents", reason="needs ipyevents")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium"),
]
REPOSITORY = Path(__file__).parent.parent
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update"
).split()
PICTURE = "img.widget-image"
CONTROLS = "[class*='cl-flow-']:not([class$='-still'])"
STILL = "div[class$=-still] img"
MINUTES = 3 * 60_000
MOVED = "([css, i, old]) => document.querySelectorAll(css)[i]?.src != old"

SOURCES = [
    """
from analysis import Scoring, explore, image_scores
from analysis.pictures import pick_images
from cl_flow import Run

run = Run({folder!r})
scoring = Scoring({scoring})
forgotten = pick_images(image_scores(run, scoring=scoring), n=3)
explore(run, image=list(forgotten["name"]), scoring=scoring)
""",
    """
import json
from pathlib import Path

from analysis import explore_patches
from analysis.embedding import measure_embedding
from analysis.embedding.layouts import METHODS

METHODS("coordinates")(lambda slices, **options: [s.points[:, :2] for s in slices])
embedded = measure_embedding(run, {layout})
patches = explore_patches(run, embedded, scoring=scoring)
places = patches._pixels[patches.step.value].tolist()
Path("places.json").write_text(json.dumps(places))
patches
""",
]
TINY = {"scoring": "size=32", "layout": "method='coordinates', n_neighbors=5"}
REAL = {"scoring": "", "layout": "method='joint'"}


def cell(source: str, name: str) -> dict:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": name,
        "metadata": {},
        "outputs": [],
        "source": source.strip(),
    }


def notebook(folder: Path, options: dict[str, str]) -> dict:
    sources = [source.format(folder=str(folder), **options) for source in SOURCES]
    return {
        "cells": [cell(source, f"cell{i}") for i, source in enumerate(sources)],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


class Lab(NamedTuple):
    """A JupyterLab: its address, and its folder with the notebook `one.ipynb`."""

    address: str
    folder: Path

    def ask(self, what: str, *, method: str = "GET", **body: str) -> bytes:
        data = json.dumps(body).encode() if body else None
        url = f"{self.address}/{what}"
        request = urllib.request.Request(url, data=data, method=method)
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    def stop_kernels(self) -> None:
        for session in json.loads(self.ask("api/sessions")):
            self.ask(f"api/sessions/{session['id']}", method="DELETE")

    def use_theme(self, name: str) -> None:
        settings = "lab/api/settings/@jupyterlab/apputils-extension:themes"
        self.ask(settings, method="PUT", raw=json.dumps({"theme": name}))


@pytest.fixture
def lab(tiny: RunConfig, tmp_path: Path) -> Iterator[Lab]:
    """A JupyterLab on a notebook which explores a run, and patches of it."""
    shown = os.environ.get("CL_FLOW_SCREENSHOTS_OF")
    if shown:
        folder, options = Path(shown), REAL
        data = folder.parent.parent
    else:
        run = fit(tiny, folder=tmp_path / "runs", progress=False)
        folder, options, data = run.folder, TINY, tmp_path / "data"
    (tmp_path / "one.ipynb").write_text(json.dumps(notebook(folder, options)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = Lab(f"http://127.0.0.1:{port}", tmp_path)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    settings = {"port": port, "ip": "127.0.0.1", "root_dir": tmp_path}
    settings |= {"disable_check_xsrf": True}
    command += [f"--ServerApp.{name}={value}" for name, value in settings.items()]
    command += ["--IdentityProvider.token=", "--ServerApp.password="]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment |= {"CL_FLOW_DATA": str(data)}
    environment |= {"JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment)
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                started.ask("api")
                break
            time.sleep(0.5)
        yield started
    finally:
        server.terminate()
        try:
            server.wait(60)  # it ends its kernels first
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.fixture
def page(lab: Lab) -> Iterator:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1300, "height": 1500})
        page.set_default_timeout(MINUTES)
        yield page
        browser.close()


def open_notebook(page, lab: Lab) -> None:
    page.goto(f"{lab.address}/lab/tree/one.ipynb?reset")
    page.get_by_text("(ipykernel) | Idle").wait_for()


def run_cells(page) -> None:
    for i in range(len(SOURCES)):
        page.locator(".jp-Cell .cm-content").nth(i).click()
        page.keyboard.press("Control+Enter")
        page.locator(PICTURE).nth(i).wait_for()


def moved(page, i: int, old: str) -> None:
    """Wait until another picture is shown."""
    page.wait_for_function(MOVED, arg=[PICTURE, i, old])


def click_lonely_point(page, lab: Lab) -> int:
    """Click the point that lies farthest from all others, and say which one it is."""
    places = np.array(json.loads((lab.folder / "places.json").read_text()))
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    np.fill_diagonal(apart, np.inf)
    lonely = int(apart.min(axis=1).argmax())
    picture = page.locator(PICTURE).nth(1)
    scale = picture.evaluate("image => image.clientWidth / image.naturalWidth")
    x, y = places[lonely] * scale
    picture.click(position={"x": x, "y": y})
    return lonely


def stills_alone(page) -> bool:
    """Whether pictures stand there, without controls or complaints."""
    stills = page.locator(STILL)
    stills.nth(1).wait_for()
    complaints = page.get_by_text("Error displaying widget").all()
    controls = page.locator(PICTURE).all()
    return not [one for one in complaints + controls if one.is_visible()]


def controls_alone(page) -> bool:
    page.locator(PICTURE).nth(1).wait_for()
    return not [one for one in page.locator(STILL).all() if one.is_visible()]


def keep(page, name: str, tmp_path: Path) -> None:
    """What the two explorers look like."""
    folder = Path(os.environ.get("CL_FLOW_SCREENSHOTS", tmp_path))
    for i, what in enumerate(("explorer", "patches")):
        shown = page.locator(CONTROLS).nth(i)
        shown.screenshot(path=folder / f"{what}-{name}.png")


def test_it_moves_hears_clicks_and_leaves_its_picture(lab, page, tmp_path):
    open_notebook(page, lab)
    run_cells(page)
    assert controls_alone(page)
    first = page.locator(PICTURE).first
    before = first.get_attribute("src")
    page.locator(".widget-hslider .noUi-handle").first.focus()
    page.keyboard.press("ArrowLeft")
    moved(page, 0, before)
    size = first.bounding_box()
    assert size["width"] > 500 and size["height"] > 150

    before = page.locator(PICTURE).nth(1).get_attribute("src")
    at = click_lonely_point(page, lab)
    moved(page, 1, before)
    assert page.locator(".widget-readout").last.inner_text() == str(at + 1)
    keep(page, "light", tmp_path)

    page.keyboard.press("Control+s")
    lab.use_theme("JupyterLab Dark")
    open_notebook(page, lab)  # on the same kernel
    assert controls_alone(page)
    keep(page, "dark", tmp_path)

    lab.stop_kernels()
    open_notebook(page, lab)  # on another one
    assert stills_alone(page)
    run_cells(page)
    assert controls_alone(page)

    page.keyboard.press("Escape")
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.locator(".lm-Menu-item[data-command='kernelmenu:restart']").click()
    page.locator(".jp-Dialog button", has_text="Restart").click()
    page.locator(STILL).first.wait_for()
    assert stills_alone(page)
    page.get_by_text("(ipykernel) | Idle").wait_for()
