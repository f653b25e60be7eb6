"""A file appears whole or not at all; names that a system takes."""

import subprocess
import sys

import pytest

from cl_flow.paths import atomic, folder_name, sweep


def test_a_file_appears_when_all_went_well(tmp_path):
    with atomic(tmp_path / "deep" / "file.json") as path:
        path.write_text("new")
        assert path.suffix == ".json" and not (tmp_path / "deep" / "file.json").exists()
    assert (tmp_path / "deep" / "file.json").read_text() == "new"


def test_an_interruption_leaves_the_old_file_and_no_debris(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "file") as path:
        path.write_text("ne")
        raise KeyboardInterrupt
    assert (tmp_path / "file").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path):
    code = (
        "import os, sys; from cl_flow.paths import atomic\n"
        "with atomic(sys.argv[1]) as path:\n"
        "    path.write_text('half'); os.kill(os.getpid(), 9)\n"
    )
    target = tmp_path / "step-00.safetensors"
    subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    (tmp_path / ".lock").touch()
    (tmp_path / "losses.csv").touch()
    assert len(list(tmp_path.iterdir())) == 3 and not target.exists()
    sweep(tmp_path, seconds=3600)
    assert len(list(tmp_path.iterdir())) == 3, "somebody may be at it"
    sweep(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {".lock", "losses.csv"}


@pytest.mark.parametrize(
    "text", ["a" * 300, "检测" * 60, "é" * 200, "🙂" * 70, "a\udcffb", ".", ""]
)
def test_the_name_of_a_folder_leaves_room_in_what_a_system_takes(tmp_path, text):
    """Names are limited by their bytes, to 255 on most systems; runs add some fifty."""
    name = folder_name(text)
    assert name == "unnamed" or text.replace("\udcff", "").startswith(name)
    (tmp_path / f"{name}-{'x' * 150}").mkdir()
