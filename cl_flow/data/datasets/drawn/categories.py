"""Fifteen drawn categories, each with its drawing and its defects.

They are named after MVTec AD's.
"""

__all__ = ["CATEGORIES", "Category"]

from collections.abc import Callable
from math import pi
from typing import NamedTuple

from cl_flow.data.datasets.drawn import objects, textures
from cl_flow.data.datasets.drawn.canvas import Scene
from cl_flow.data.datasets.drawn.defects import (
    Defect,
    anywhere,
    between,
    crack,
    cut,
    hole,
    one_of,
    redrawn,
    run,
    scratch,
    stain,
    texture_swap,
    thread,
)


class Category(NamedTuple):
    """Drawing of a category, and what may be wrong with it.

    The drawing takes the keywords of `redrawn`.
    """

    drawing: Callable[..., Scene]
    defects: dict[str, Defect]


CATEGORIES: dict[str, Category] = {
    "bottle": Category(
        objects.bottle,
        {
            "crack": crack,
            "misprint": redrawn(
                label_turn=between(0.10, 0.25, either_sign=True),
                logo=one_of(True, False),
            ),
            "missing_part": redrawn(capped=one_of(False)),
            "stain": stain,
        },
    ),
    "cable": Category(
        objects.cable,
        {
            "bent_part": redrawn(
                loose=one_of(0, 1, 2), bend=between(13, 19, either_sign=True)
            ),
            "cut": cut,
            "missing_part": redrawn(hollow=one_of(0, 1, 2)),
            "texture_swap": redrawn(swapped=one_of(0, 1, 2)),
        },
    ),
    "capsule": Category(
        objects.capsule,
        {
            "bent_part": redrawn(
                dent=between(3, 6), dent_at=between(8, 30, either_sign=True)
            ),
            "crack": crack,
            "hole": hole,
            "misprint": redrawn(
                text=one_of("50", "005", "570", "500"),
                print_turn=between(0.3, 0.6, either_sign=True),
            ),
        },
    ),
    "carpet": Category(
        textures.carpet,
        {
            "cut": cut,
            "hole": hole,
            "stain": stain,
            "texture_swap": texture_swap(textures.leather),
            "thread": thread,
        },
    ),
    "grid": Category(
        textures.grid,
        {
            "bent_part": redrawn(push=between(6, 9, either_sign=True), at=anywhere(45)),
            "missing_part": redrawn(gap=between(9, 14), at=anywhere(45)),
            "stain": stain,
            "thread": thread,
        },
    ),
    "hazelnut": Category(
        objects.hazelnut,
        {
            "crack": crack,
            "cut": cut,
            "hole": hole,
            "misprint": redrawn(misprint=between(-pi, pi)),
        },
    ),
    "leather": Category(
        textures.leather,
        {
            "cut": cut,
            "hole": hole,
            "scratch": scratch,
            "stain": stain,
            "texture_swap": texture_swap(textures.wood),
        },
    ),
    "metal_nut": Category(
        objects.metal_nut,
        {
            "bent_part": redrawn(dent=between(5, 9), at=between(-pi, pi)),
            "missing_part": redrawn(bite=between(11, 17), at=between(-pi, pi)),
            "scratch": scratch,
            "stain": stain,
        },
    ),
    "pill": Category(
        objects.pill,
        {
            "crack": crack,
            "misprint": redrawn(
                text=one_of("F", "FN", "7F", "FF"),
                text_turn=between(0.4, 0.8, either_sign=True),
            ),
            "missing_part": redrawn(bite=between(9, 16), at=between(-pi, pi)),
            "stain": stain,
        },
    ),
    "screw": Category(
        objects.screw,
        {
            "bent_part": redrawn(bend=between(5, 11, either_sign=True)),
            "missing_part": redrawn(tip=between(34, 48)),
            "scratch": scratch,
            "texture_swap": redrawn(
                stripped=run(range(-12, 10), shortest=18, longest=28)
            ),
        },
    ),
    "tile": Category(
        textures.tile,
        {
            "crack": crack,
            "hole": hole,
            "stain": stain,
            "texture_swap": texture_swap(textures.carpet),
        },
    ),
    "toothbrush": Category(
        objects.toothbrush,
        {
            "bent_part": redrawn(
                splayed=one_of(*range(6, 26)), lean=between(10, 14, either_sign=True)
            ),
            "missing_part": redrawn(bare=run(range(3, 28), longest=3)),
            "stain": stain,
            "thread": thread,
        },
    ),
    "transistor": Category(
        objects.transistor,
        {
            "bent_part": redrawn(
                bent=one_of(0, 1, 2), bend=between(6, 11, either_sign=True)
            ),
            "crack": crack,
            "missing_part": redrawn(cut=one_of(0, 1, 2), length=between(16, 36)),
            "misprint": redrawn(text=one_of("N5", "5N1", "71N", "NN0")),
            "scratch": scratch,
        },
    ),
    "wood": Category(
        textures.wood,
        {
            "cut": cut,
            "hole": hole,
            "scratch": scratch,
            "stain": stain,
            "texture_swap": texture_swap(textures.tile),
        },
    ),
    "zipper": Category(
        objects.zipper,
        {
            "bent_part": redrawn(
                bent=one_of(*range(-5, 4)),
                side=one_of(0, 1),
                bend=between(0.5, 0.9, either_sign=True),
            ),
            "cut": cut,
            "missing_part": redrawn(
                missing=run(range(-5, 3), longest=4, shortest=2), side=one_of(0, 1)
            ),
            "thread": thread,
        },
    ),
}
