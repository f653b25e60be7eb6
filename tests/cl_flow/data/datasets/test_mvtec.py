"""MVTec AD: read where it is; fetched from the first mirror that has it, whole or not
at all.
"""

import functools
import hashlib
import io
import json
import logging
import re
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest
from PIL import Image

from cl_flow.data.datasets.mvtec import CATEGORIES, MIRRORS, _unpack, fetch, mvtec

ARCHIVE = "mvtec_anomaly_detection.tar.xz"


def image_file() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((6, 8), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def pack(
    path: Path, categories: tuple[str, ...] = CATEGORIES, *, below: str = ""
) -> str:
    """Write an archive like MVTec's, read-only folders included, and return its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = image_file()
    with tarfile.open(path, "w:xz") as tar:
        for category in categories:
            for name in (
                "train/good/000",
                "test/good/000",
                "test/hole/000",
                "ground_truth/hole/000_mask",
            ):
                entry = tarfile.TarInfo(f"{below}{category}/{name}.png")
                entry.size, entry.mode = len(content), 0o444
                tar.addfile(entry, io.BytesIO(content))
            entry = tarfile.TarInfo(f"{below}{category}")
            entry.type, entry.mode = tarfile.DIRTYPE, 0o555
            tar.addfile(entry)
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Keep the terminal for the tests."""


@pytest.fixture
def server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Path]]:
    """Serve a folder on this machine: its URL and its path."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    served = tmp_path / "served"
    served.mkdir()
    handler = functools.partial(Quiet, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(
            target=http.serve_forever, kwargs={"poll_interval": 0.01}
        )
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", served
        http.shutdown()
        thread.join()


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil-of-cl-flow.txt", "link"])
def test_an_archive_that_leaves_its_folder_is_refused(tmp_path, name):
    archive = tmp_path / "archive.tar"
    with tarfile.open(archive, "w") as packed:
        member = tarfile.TarInfo(name)
        if name == "link":
            member.type = tarfile.SYMTYPE
            member.linkname = "/etc/passwd"
        packed.addfile(member)
    with pytest.raises((tarfile.FilterError, ValueError)):
        _unpack(archive, tmp_path / "mvtec")
    assert not list(tmp_path.rglob("evil.txt"))
    assert not Path("/tmp/evil-of-cl-flow.txt").exists()


@pytest.mark.parametrize("below", ["", "mvtec_anomaly_detection/"])
def test_fetch_unpacks_the_archive_and_leaves_nothing_else(tmp_path, server, below):
    url, served = server
    sha256 = pack(served / ARCHIVE, below=below)
    root = fetch(
        tmp_path / "data" / "mvtec", mirrors=[f"{url}/{ARCHIVE}"], sha256=sha256
    )
    assert root == tmp_path / "data" / "mvtec"
    assert leftovers(root) == set(CATEGORIES)
    assert leftovers(tmp_path / "data") == {"mvtec"}
    samples = mvtec(root)
    assert len(samples) == 45 and list(samples["category"].unique()) == list(CATEGORIES)
    assert set(samples["defect"]) == {"good", "hole"}


def test_fetch_goes_on_to_the_next_mirror(tmp_path, server):
    url, served = server
    sha256 = pack(served / "good" / ARCHIVE)
    pack(served / "other" / ARCHIVE, CATEGORIES[:2])
    mirrors = [
        f"{url}/gone/{ARCHIVE}",
        f"{url}/other/{ARCHIVE}",
        f"{url}/good/{ARCHIVE}",
    ]
    assert leftovers(fetch(tmp_path / "mvtec", mirrors=mirrors, sha256=sha256)) == set(
        CATEGORIES
    )


def test_fetch_reads_mirrors_from_a_file(tmp_path, server):
    url, served = server
    source = {**json.loads(MIRRORS.read_text())["mvtec"], "bytes": 0}
    source |= {"sha256": pack(served / ARCHIVE), "mirrors": [f"{url}/{ARCHIVE}"]}
    (tmp_path / "mirrors.json").write_text(json.dumps({"mvtec": source}))
    assert fetch(tmp_path / "mvtec", mirrors=tmp_path / "mirrors.json").is_dir()


def test_fetch_accepts_a_folder_that_is_there(tmp_path):
    for name in CATEGORIES:
        (tmp_path / name / "train" / "good").mkdir(parents=True)
    assert fetch(tmp_path, mirrors=["http://127.0.0.1:9/never asked"]) == tmp_path


def test_fetch_fills_an_empty_folder(tmp_path, server):
    url, served = server
    sha256 = pack(served / ARCHIVE)
    (tmp_path / "mvtec").mkdir()
    assert leftovers(
        fetch(tmp_path / "mvtec", mirrors=f"{url}/{ARCHIVE}", sha256=sha256)
    ) == set(CATEGORIES)


def test_fetch_uses_an_archive_downloaded_by_hand_and_keeps_it(tmp_path):
    sha256 = pack(tmp_path / ARCHIVE)
    fetch(tmp_path / "mvtec", mirrors=["http://127.0.0.1:9/never asked"], sha256=sha256)
    assert leftovers(tmp_path) == {"mvtec", ARCHIVE}


def test_fetch_touches_no_folder_that_holds_something_else(tmp_path):
    (tmp_path / "bottle" / "train" / "good").mkdir(parents=True)
    with pytest.raises(
        ValueError,
        match=f"^Expected all of MVTec AD or nothing in {tmp_path}; got .* without cable, ",
    ):
        fetch(tmp_path, mirrors=["http://127.0.0.1:9/never asked"])
    assert leftovers(tmp_path) == {"bottle"}


def test_when_every_mirror_fails_each_is_listed_with_its_error(tmp_path, server):
    url, served = server
    pack(served / "other" / ARCHIVE)
    mirrors = [f"{url}/gone/{ARCHIVE}", f"{url}/other/{ARCHIVE}"]
    root = tmp_path / "data" / "mvtec"
    with pytest.raises(ConnectionError) as caught:
        fetch(root, mirrors=mirrors, sha256="0" * 64)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert (
        f"from one of 2 mirrors; got {mirrors[0]} (404 Client Error: File not found); {mirrors[1]} (SHA256"
        in sentence
    )
    assert "https://www.mvtec.com/company/research/datasets/mvtec-ad" in sentence
    assert (
        f"put it at {root.parent / ARCHIVE} or unpack it to {root}, so that {root / 'bottle'} exists"
        in sentence
    )
    assert leftovers(root.parent) == set()


def test_a_mirror_that_does_not_answer_is_told_shortly(tmp_path):
    url = f"http://127.0.0.1:9/{ARCHIVE}"
    with pytest.raises(ConnectionError, match="Connection refused") as caught:
        fetch(tmp_path / "mvtec", mirrors=[url], sha256="0" * 64)
    assert (
        str(caught.value).count(ARCHIVE) == 3
    )  # what is wanted, the mirror, and where to put it


def test_an_archive_of_something_else_leaves_no_half_a_dataset(tmp_path, server):
    url, served = server
    sha256 = pack(served / ARCHIVE, CATEGORIES[:3])
    with pytest.raises(ValueError, match="got an archive without them: .*tar.xz"):
        fetch(tmp_path / "data" / "mvtec", mirrors=[f"{url}/{ARCHIVE}"], sha256=sha256)
    assert leftovers(tmp_path / "data") == {ARCHIVE}


def test_an_interrupted_download_is_taken_up_by_the_next_call(tmp_path, server):
    url, served = server
    sha256 = pack(served / "good" / ARCHIVE)
    (served / "cut").mkdir()
    (served / "cut" / ARCHIVE).write_bytes(
        (served / "good" / ARCHIVE).read_bytes()[:100]
    )
    root = tmp_path / "data" / "mvtec"
    with pytest.raises(ConnectionError, match="hash"):
        fetch(root, mirrors=[f"{url}/cut/{ARCHIVE}"], sha256=sha256)
    assert leftovers(
        fetch(root, mirrors=[f"{url}/good/{ARCHIVE}"], sha256=sha256)
    ) == set(CATEGORIES)


def test_a_disk_too_small_is_refused_before_the_download(tmp_path):
    source = {**json.loads(MIRRORS.read_text())["mvtec"], "bytes": 10**18}
    (tmp_path / "mirrors.json").write_text(json.dumps({"mvtec": source}))
    with pytest.raises(
        OSError, match="Expected 2000000000.0 GB free for MVTec AD; got .* GB in "
    ):
        fetch(tmp_path / "data" / "mvtec", mirrors=tmp_path / "mirrors.json")


def test_the_licence_is_shown_once_where_a_notebook_shows_it(tmp_path, server):
    url, served = server
    sha256 = pack(served / ARCHIVE)
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    pooch.get_logger().addHandler(handler)
    try:
        fetch(
            tmp_path / "mvtec",
            mirrors=[f"{url}/gone", f"{url}/{ARCHIVE}"],
            sha256=sha256,
        )
        fetch(tmp_path / "mvtec")
    finally:
        pooch.get_logger().removeHandler(handler)
    assert lines.getvalue().count("CC BY-NC-SA 4.0") == 1


def test_the_tracked_mirrors_are_complete():
    source = json.loads(MIRRORS.read_text())["mvtec"]
    assert (
        source["sha256"]
        == "cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d"
    )
    assert source["mirrors"] and all(
        re.fullmatch(rf"https://\S+/{ARCHIVE}", url) for url in source["mirrors"]
    )


def test_a_part_of_mvtec_is_read_when_asked_for(tmp_path):
    for name in ("bottle", "cable"):
        for place in ("train/good", "test/good"):
            (tmp_path / name / place).mkdir(parents=True)
            (tmp_path / name / place / "000.png").write_bytes(image_file())
    assert set(mvtec(tmp_path, categories=["bottle"])["category"]) == {"bottle"}
    with pytest.raises(
        ValueError,
        match="Expected category capsule, carpet, .*; known there: bottle, cable",
    ):
        mvtec(tmp_path)
