"""A bar ends as a line, and none is left of what took no time."""

import io

import pytest

from cl_flow import progress
from cl_flow.progress import Bar


def shown(text: str) -> list[str]:
    """Lines as a terminal shows them."""
    lines = []
    for line in text.split("\n"):
        *_, last = line.split("\r")
        lines.append(last.rstrip())
    return lines


@pytest.fixture
def patient(monkeypatch) -> None:
    """Everything takes long enough for a line."""
    monkeypatch.setattr(progress, "SHORT_SECONDS", 0.0)


def test_it_leaves_a_line(patient):
    file = io.StringIO()
    assert list(Bar(range(3), desc="scoring", file=file, mininterval=0)) == [0, 1, 2]
    assert "2/3" in file.getvalue(), "it moved"
    assert shown(file.getvalue()) == ["scoring: 3 of 3 in 00:00", ""]


def test_what_breaks_off_says_how_far_it_came(patient):
    file = io.StringIO()
    with (
        pytest.raises(KeyboardInterrupt),
        Bar(total=3, desc="ledger", file=file) as bar,
    ):
        bar.update()
        raise KeyboardInterrupt
    assert shown(file.getvalue()) == ["ledger: 1 of 3 in 00:00", ""]


def test_what_was_quick_or_hidden_leaves_nothing(monkeypatch):
    monkeypatch.setattr(progress, "SHORT_SECONDS", 60.0)
    files = [io.StringIO(), io.StringIO()]
    for file, hidden in zip(files, (False, True)):
        _ = list(Bar(range(3), file=file, disable=hidden))
    assert not "".join(shown(files[0].getvalue())) and not files[1].getvalue()


def test_an_executed_notebook_holds_the_line_alone(patient, monkeypatch):
    """As `make figures` has it, and on the output that is not shown on red."""

    class Stream(io.StringIO):
        pass

    Stream.__module__ = "ipykernel.iostream"
    stream = Stream()
    monkeypatch.setattr("sys.stdout", stream)
    _ = list(Bar(range(3), desc="scoring", delay=86400))
    assert stream.getvalue() == "scoring: 3 of 3 in 00:00\n"
