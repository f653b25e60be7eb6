"""A file appears whole or not at all."""

import pytest

from cl_flow.paths import atomic


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
