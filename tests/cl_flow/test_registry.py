"""A registry lists what it knows."""

import pytest

from cl_flow.registry import Registry


def test_entries_keep_their_name_or_take_the_one_given():
    shapes = Registry("shape")

    @shapes
    def circle():
        return "round"

    @shapes("box")
    def square():
        return "edgy"

    assert (
        list(shapes) == ["circle", "box"]
        and shapes["box"] is square
        and shapes["circle"]() == "round"
    )


def test_an_unknown_name_is_answered_with_the_known_ones():
    shapes = Registry("shape")
    shapes("box")(lambda: None)
    shapes("ball")(lambda: None)
    with pytest.raises(KeyError, match="Unknown shape 'bx'; known: ball, box"):
        shapes["bx"]


def test_a_name_is_given_once():
    shapes = Registry("shape")
    shapes("box")(test_a_name_is_given_once)
    with pytest.raises(ValueError, match="new shape name; 'box' is taken by"):
        shapes("box")(pytest.raises)
