"""In a real browser the explorer shows, moves, and survives a restart of its kernel."""

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

import pytest

from cl_flow import RunConfig, fit

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
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
MINUTES = 3 * 60_000


def cell(source: str) -> dict:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": "one",
        "metadata": {},
        "outputs": [],
        "source": source,
    }


@pytest.fixture
def lab(tiny: RunConfig, tmp_path: Path) -> Iterator[str]:
    """Address of a JupyterLab on a notebook of one cell, which explores a run."""
    run = fit(tiny, folder=tmp_path / "runs", progress=False)
    source = (
        "from analysis import Scoring, explore\n"
        "from cl_flow import Run\n"
        f"explore(Run({str(run.folder)!r}), scoring=Scoring(size=32), n=1)"
    )
    notebook = {
        "cells": [cell(source)],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (tmp_path / "one.ipynb").write_text(json.dumps(notebook))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    options = {"port": port, "ip": "127.0.0.1", "root_dir": tmp_path}
    command += [f"--ServerApp.{name}={value}" for name, value in options.items()]
    command += ["--IdentityProvider.token=", "--ServerApp.password="]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    environment |= {"CL_FLOW_DATA": str(tmp_path / "data")}
    environment |= {"JUPYTER_CONFIG_DIR": str(tmp_path / "config")}
    quiet = subprocess.DEVNULL
    server = subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment)
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{address}/api")
                break
            time.sleep(0.5)
        yield f"{address}/lab/tree/one.ipynb?reset"
    finally:
        server.terminate()
        server.wait(30)


def shown(page) -> str:
    """Where the picture lies that is shown now."""
    picture = page.locator(PICTURE).last
    picture.wait_for(timeout=MINUTES)
    return picture.get_attribute("src")


def run_all(page) -> None:
    page.get_by_text("(ipykernel) | Idle").wait_for(timeout=MINUTES)
    page.locator(".jp-Cell .cm-content").first.click()
    page.keyboard.press("Control+Enter")


def test_it_shows_it_moves_and_it_survives_a_restart(lab, tmp_path):
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1300, "height": 900})
        page.goto(lab, timeout=MINUTES)
        run_all(page)
        first = shown(page)
        page.locator(".widget-hslider .noUi-handle").first.focus()
        page.keyboard.press("ArrowLeft")
        page.wait_for_function(
            "([css, old]) => [...document.querySelectorAll(css)].at(-1).src != old",
            arg=[PICTURE, first],
            timeout=60_000,
        )
        size = page.locator(PICTURE).last.bounding_box()
        assert size["width"] > 500 and size["height"] > 150
        folder = Path(os.environ.get("CL_FLOW_SCREENSHOTS", tmp_path))
        page.screenshot(path=folder / "explorer.png")
        page.keyboard.press("Escape")
        page.locator(".jp-NotebookPanel").first.click()
        page.get_by_role("menuitem", name="Kernel", exact=True).click()
        page.get_by_role("menuitem", name="Restart Kernel and Clear").click()
        page.locator(".jp-Dialog button", has_text="Restart").click()
        page.locator(PICTURE).wait_for(state="detached", timeout=60_000)
        run_all(page)
        assert shown(page)
        browser.close()
