"""Ten drawn objects.

Each function paints one specimen, healthy unless a keyword names what is wrong with it.

Every random choice of a specimen is made whatever the keywords say, so that the same
generator state gives the same specimen, healthy or not, and the two images differ by
the defect alone.
"""

__all__ = [
    "bottle",
    "cable",
    "capsule",
    "hazelnut",
    "metal_nut",
    "pill",
    "screw",
    "toothbrush",
    "transistor",
    "zipper",
]

import numpy as np
from numpy.random import Generator

from cl_flow.data.datasets.drawn.canvas import (
    PLANE,
    Colour,
    Scene,
    backdrop,
    box,
    clouds,
    dome,
    finest,
    fold,
    moulded,
    path,
    posed,
    segment,
    smooth,
    tinted,
    traced,
    turned,
    written,
)


def bottle(
    rng: Generator, *, capped: bool = True, label_turn: float = 0.0, logo: bool = True
) -> Scene:
    """A green glass bottle with a cream label, standing.

    Args:
        rng: Where the specimen's chance comes from.
        capped: Whether it has its cap.
        label_turn: By how many radians the label is askew.
        logo: Whether the label is printed.
    """
    p = posed(rng, turn=0.03, shift=1)
    level = rng.uniform(-8, 2)
    glow = rng.uniform(0.92, 1.08)
    hue = rng.normal(0, 5, 3)
    scene = backdrop(rng, (222, 221, 217), rough=2)
    x = p.real
    y = p.imag
    half = 8.5 + 15.5 * smooth((y + 31) / 26)
    side = np.abs(x) - half
    outline = np.maximum(side, box(p - 2j, 40, 55, corner=4))
    foot = np.hypot(x / 1.1, (y - 57) * 4) - 22
    scene.shadow(foot, depth=0.35, reach=10)
    across = np.clip(x / half, -1, 1)
    round_ = np.sqrt(1 - across**2)
    filled = smooth((y - level + 22) / 1.5)
    glass = _mixed((118, 168, 122), np.array((38, 96, 52)) + hue, filled)
    scene.place(tinted(glass, glow * (0.45 + 0.6 * round_)), outline)
    wrapped = np.maximum(outline, side + 0.5)
    _label(scene, turned(p - 22j, label_turn), wrapped, round_, logo)
    left = np.exp(-(((across + 0.6) / 0.10) ** 2))
    right = np.exp(-(((across - 0.72) / 0.07) ** 2))
    shine = left + 0.45 * right
    scene.paint((236, 244, 236), outline + 3, opacity=0.55 * shine)
    _neck(scene, p, round_, capped)
    return scene


def _mixed(first: Colour, second: Colour, share: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) from the first to the second as the share (H, W) rises."""
    share = share[..., None]
    return (1 - share) * np.asarray(first) + share * np.asarray(second)


def _neck(scene: Scene, p: np.ndarray, round_: np.ndarray, capped: bool) -> None:
    lip = box(p + 50j, 10.2, 1.8, corner=1.5)
    scene.place(tinted((74, 120, 84), 0.5 + 0.7 * round_), lip)
    if capped:
        ridges = 0.62 + 0.5 * round_ + 0.10 * np.cos(p.real * 2.2)
        cap = box(p + 53.5j, 10, 5.2, corner=2)
        scene.place(tinted((176, 38, 40), ridges), cap)


def _label(
    scene: Scene, p: np.ndarray, outline: np.ndarray, round_: np.ndarray, logo: bool
) -> None:
    paper = 0.62 + 0.4 * round_
    edge = np.maximum(outline, np.abs(p.imag) - 17)
    scene.paint(tinted((238, 226, 196), paper), edge)

    def stamp(colour: Colour, shape: np.ndarray) -> None:
        scene.paint(tinted(colour, paper), np.maximum(edge, shape))

    for y in (-14, 14):
        stamp((160, 44, 40), np.abs(p.imag - y) - 1.4)
    if logo:
        stamp((44, 92, 58), np.abs(p + 3j) - 7)
        stamp((238, 226, 196), path(p, (-4 - 1j, -3j + 1, 3 - 6j)) - 1.1)
        stamp((70, 60, 54), segment(p, -10 + 8j, 10 + 8j) - 0.9)


_INSULATION = ((94, 150, 62), (52, 98, 176), (134, 82, 52))


def cable(
    rng: Generator,
    *,
    hollow: int | None = None,
    swapped: int | None = None,
    loose: int | None = None,
    bend: complex = 12.0,
) -> Scene:
    """A cut three-wire cable, seen end on.

    Green, blue and brown insulation around copper strands.

    Args:
        rng: Where the specimen's chance comes from.
        hollow: The wire without copper.
        swapped: The wire in the colour of the next.
        loose: The wire with a strand bent out of it.
        bend: Where the tip of that strand ends, seen from the wire's centre.
    """
    p = posed(rng, turn=0.06, shift=1)
    scene = backdrop(rng, (168, 160, 148), rough=4)
    _sheath(rng, scene, np.abs(p))
    directions = np.exp(2j * np.pi * np.arange(3) / 3 - 0.5j * np.pi)
    centres = 25.8 * directions + rng.normal(0, 0.6, (3, 2)) @ (1, 1j)
    turns = np.exp(1j * rng.uniform(-np.pi, np.pi, 3))
    colours = np.array(_INSULATION) + rng.normal(0, 5, (3, 3))
    if swapped is not None:
        colours[swapped] = colours[(swapped + 1) % 3]
    wire = np.abs(p[..., None] - centres).argmin(2)
    q = ((p - centres[wire]) * turns[wire]).astype(np.complex64)
    ring = np.abs(np.abs(q) - 16.8) - 5
    insulation = moulded(colours[wire], dome(ring, 5), shine=70)
    scene.place(insulation, np.abs(q) - 21)
    _strands(scene, q, clouds(rng, 3), hollow=wire == hollow)
    if loose is not None:
        strand = np.where(wire == loose, segment(q, 0, bend) - 3, 9)
        scene.shadow(strand, depth=0.5, reach=2)
        scene.place(moulded((226, 150, 92), dome(strand, 3), shine=110), strand)
    return scene


def _sheath(rng: Generator, scene: Scene, radius: np.ndarray) -> None:
    scene.shadow(radius - 56)
    rim = dome(np.abs(radius - 52.5) - 4.5, 4)
    scene.place(moulded((92, 92, 96), rim, shine=40), radius - 57)
    mottle = 6 * clouds(rng, 6)[..., None]
    scene.place(np.array((62, 60, 58)) + mottle, radius - 48)


def _strands(
    scene: Scene, q: np.ndarray, noise: np.ndarray, *, hollow: np.ndarray
) -> None:
    bundle = np.abs(q) - 13
    scene.paint((42, 26, 18), bundle)
    pitch = 4.4
    row = pitch * 3**0.5
    straight = np.hypot(fold(q.real, pitch), fold(q.imag, row))
    x = q.real - pitch / 2
    y = q.imag - row / 2
    staggered = np.hypot(fold(x, pitch), fold(y, row))
    strand = np.minimum(straight, staggered) - pitch / 2 + 0.1
    copper = np.array((214, 132, 78)) + 9 * noise[..., None]
    shown = np.where(hollow, 9, np.maximum(strand, bundle + 0.5))
    scene.paint(moulded(copper, dome(strand, pitch / 2), shine=60), shown)


def capsule(
    rng: Generator,
    *,
    dent: float = 0.0,
    dent_at: float = 10.0,
    text: str = "500",
    print_turn: float = 0.0,
) -> Scene:
    """Gelatine capsule, one half black and one orange, with white print.

    Args:
        rng: Where the specimen's chance comes from.
        dent: By how many pixels it is squeezed.
        dent_at: Where along its length, pixels from the middle.
        text: What is printed on it.
        print_turn: By how many radians the print is askew.
    """
    p = posed(rng, turn=0.05, shift=1.5)
    length = rng.uniform(50, 53)
    hue = rng.normal(0, 6, 3)
    roll = rng.uniform(-2, 2)
    scene = backdrop(rng, (226, 226, 224), rough=2)
    x = p.real
    y = p.imag
    squeeze = dent * np.exp(-(((x - dent_at) / 9) ** 2))
    seam = x + 4 + 0.6 * (y / 18) ** 2
    body = box(p, length, 19.5, corner=19.5)
    outline = body + squeeze - 0.8 * smooth(-seam / 1.5) + 0.8
    below = box(p - (2 + 3j), length, 19.5, corner=19.5)
    scene.shadow(below, depth=0.5, reach=6)
    orange = np.array((214, 88, 38)) + hue
    colour = _mixed((46, 40, 42), orange, smooth(seam / 1.2))
    height = dome(outline, 19.5)
    scene.place(moulded(colour, height, shine=90), outline)
    joint = np.maximum(np.abs(seam) - 0.5, outline + 1)
    scene.paint((20, 14, 12), joint, opacity=0.6)
    ends = smooth((length - 14 - np.abs(x)) / 8)
    streak = np.exp(-(((y + 9.5) / 2) ** 2)) * ends
    scene.paint((255, 250, 245), outline + 3, opacity=0.5 * streak)
    line = turned(p - complex(24, 2 + roll), print_turn)
    ink = written(line, text, 6.5) - 1.1
    scene.paint((240, 232, 224), np.maximum(ink, outline + 1), opacity=0.95)
    return scene


def hazelnut(rng: Generator, *, misprint: float | None = None) -> Scene:
    """A hazelnut lying anyhow.

    Brown shell streaked from the tip, pale rough base.

    Args:
        rng: Where the specimen's chance comes from.
        misprint: The direction, in radians, of a number printed on it by mistake.
    """
    p = posed(rng, turn=np.pi, shift=1.5, zoom=0.03)
    plump = rng.uniform(0.92, 1.0)
    cap = rng.uniform(17, 24)
    hue = rng.normal(0, 6, 3)
    wave = rng.uniform(-3, 3)
    scene = backdrop(rng, (30, 29, 31), rough=3)
    outline = _nut_outline(p, plump)
    shell = _shell(rng, p, hue)
    height = dome(outline, 44)
    scene.place(moulded(shell, height, shine=34, ambient=0.3), outline)
    frayed = 1.2 * traced(clouds(rng, 6), p.real, p.imag)
    edge = cap - 0.006 * p.real**2 - p.imag + frayed + wave * p.real / 60
    blotches = traced(clouds(rng, 3, octaves=2), p.real, p.imag)
    base = tinted((206, 172, 124), 1 + 0.09 * blotches)
    scene.paint(moulded(base, height, ambient=0.35), np.maximum(edge, outline + 0.5))
    border = np.maximum(np.abs(edge) - 0.8, outline + 0.5)
    scene.paint((84, 46, 20), border, opacity=0.55)
    if misprint is not None:
        ink = written(turned(p + 8j, misprint), "175", 7) - 1.2
        scene.paint((226, 222, 216), np.maximum(ink, outline + 4), opacity=0.9)
    return scene


def _nut_outline(p: np.ndarray, plump: float) -> np.ndarray:
    """Distance (H, W) to a hazelnut, pointed at the tip and flat at the base."""
    lean = np.angle(p * 1j)
    tip = 0.10 * np.exp(-((lean / 0.28) ** 2))
    flat = 0.05 * smooth((np.abs(lean) - 2.2) / 0.6)
    radius = 44 * (1 + tip - flat)
    return np.abs(p.real / plump + 1j * p.imag) - radius


def _shell(rng: Generator, p: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) of a shell with streaks that follow its roundness."""
    half = np.sqrt(np.maximum(47**2 - p.imag**2, 60))
    across = np.clip(p.real / half, -1.2, 1.2)
    streaks = traced(clouds(rng, (2.5, 60), octaves=2), across * 46, p.imag)
    brightness = 1 + 0.13 * streaks + 0.03 * finest(rng)
    shell = tinted(np.array((160, 92, 42)) + hue, brightness)
    dusk = 0.16 * smooth((-p.imag - 20) / 22)
    return shell * (1 - dusk)[..., None]


def metal_nut(
    rng: Generator, *, dent: float = 0.0, bite: float = 0.0, at: float = 0.0
) -> Scene:
    """Hexagon nut with a chamfered face and a threaded hole.

    Turned anyhow.

    Args:
        rng: Where the specimen's chance comes from.
        dent: By how many pixels the rim is pushed in.
        bite: Radius of a piece broken out of the rim.
        at: Where on the rim it is damaged, in radians.
    """
    p = posed(rng, turn=np.pi, shift=1.5, zoom=0.03)
    eccentric = complex(*rng.normal(0, 0.4, 2))
    tone = rng.normal(0, 5)
    scene = backdrop(rng, (64, 66, 72), rough=4)
    lean = np.angle(turned(p, at))
    around = np.angle(p)
    pushed = np.abs(p) + dent * np.exp(-((lean / 0.26) ** 2))
    sector = fold(around + np.pi / 6, np.pi / 3)
    hexagon = pushed * np.cos(sector) - 46
    outline = np.maximum(hexagon, pushed - 52)
    if bite:
        jags = traced(clouds(rng.spawn(1)[0], 5), p.real, p.imag)
        rim = complex(52 * np.exp(1j * at))
        outline = np.maximum(outline, bite - np.abs(p - rim) + 1.2 * jags)
    scene.shadow(outline, depth=0.6, reach=5)
    chamfer = 0.55 * np.maximum(51 - pushed, 0)
    edge = np.minimum(dome(outline, 3), 3)
    height = np.minimum(dome(outline, 4), chamfer) + edge
    marks = traced(clouds(rng, (2, 90), octaves=2), np.abs(p) * 2 - 60, around * 20)
    steel = tinted(np.array((168, 170, 176)) + tone, 1 + 0.05 * marks)
    sheen = 1 + 0.13 * np.cos(2 * around + 0.9)
    scene.place(tinted(moulded(steel, height, shine=36), sheen), outline)
    _bore(scene, np.abs(p - eccentric))
    return scene


def _bore(scene: Scene, radius: np.ndarray) -> None:
    """Paint a threaded hole, and take it out of the object."""
    bowl = np.clip((radius - 21) / 7, 0, 1) * 5
    thread = 0.9 * np.cos(radius * 2.1)
    scene.paint(moulded((140, 142, 148), bowl + thread, shine=60), radius - 28)
    scene.paint((34, 35, 38), radius - 20.5)
    scene.cover *= np.clip(radius - 20, 0, 1)


def pill(
    rng: Generator,
    *,
    text: str = "FF",
    text_turn: float = 0.0,
    bite: float = 0.0,
    at: float = 0.0,
) -> Scene:
    """A white oval tablet with red speckles and two debossed letters.

    Args:
        rng: Where the specimen's chance comes from.
        text: The letters.
        text_turn: By how many radians they are askew.
        bite: Radius of a piece broken out of the rim.
        at: Where on the rim, in radians.
    """
    p = posed(rng, turn=0.06, shift=1.5)
    speckles = clouds(rng, 3.2)
    depth = rng.uniform(0.9, 1.15)
    scene = backdrop(rng, (26, 27, 30), rough=2)
    outline = (np.hypot(p.real / 52, p.imag / 34) - 1) * 36
    if bite:
        rim = complex(52 * np.cos(at), 34 * np.sin(at))
        jags = clouds(rng.spawn(1)[0], 5)
        outline = np.maximum(outline, bite - np.abs(p - rim) + 1.3 * jags)
    scene.shadow(outline, depth=-0.3, reach=6)
    mottle = 2.5 * clouds(rng, 4, octaves=2)
    chalk = np.array((224, 220, 212)) + mottle[..., None]
    red = smooth((speckles - 1.55) / 0.5)
    chalk = _mixed(chalk, (178, 66, 56), 0.75 * red)
    letters = written(turned(p, text_turn), text, 11.5) - 1.9
    height = dome(outline, 13) - 0.8 * depth * dome(letters, 2)
    face = moulded(chalk, height, ambient=0.35)
    groove = 0.13 * np.clip(0.5 - letters, 0, 1)
    scene.place(face * (1 - groove)[..., None], outline)
    return scene


def screw(
    rng: Generator,
    *,
    bend: float = 0.0,
    stripped: tuple[float, float] = (0.0, 0.0),
    tip: float = 58.0,
) -> Scene:
    """A wood screw lying roughly level.

    Countersunk head, plain neck, thread and point.

    Args:
        rng: Where the specimen's chance comes from.
        bend: By how many pixels the point is bent aside.
        stripped: Where the thread is gone, from and to, pixels from the middle.
        tip: Where the screw ends, pixels from the middle.
    """
    p = posed(rng, turn=0.15, shift=1, zoom=0.02)
    phase = rng.uniform(0, 6.3)
    tone = rng.normal(0, 4)
    scene = backdrop(rng, (198, 199, 201), rough=2)
    x = p.real
    y = p.imag - bend * np.maximum((x - 22) / 36, 0) ** 2
    bald = smooth((x - stripped[0]) / 2) * smooth((stripped[1] - x) / 2)
    threaded = smooth((x + 22) / 3) * (1 - bald)
    core = 5.6 * smooth((61 - x) / 22 + 0.05)
    crest = 0.5 + 0.5 * np.cos((x + 0.42 * y) * 2 * np.pi / 6.2 + phase)
    half = core + threaded * 3.6 * crest * smooth((60 - x) / 14)
    head = 5.5 + 11.0 * np.clip((-42 - x) / 11, 0, 1)
    half = np.where(x < -42, head, half)
    ends = np.maximum(x - tip, -58 - x)
    outline = np.maximum((np.abs(y) - half) * 0.8, ends)
    below = (np.abs(y - 1) - core - 2.2) * 0.9
    scene.shadow(np.maximum(below, ends), depth=0.35, reach=2.5)
    round_ = np.sqrt(np.clip(1 - (y / np.maximum(half, 1)) ** 2, 0, 1))
    height = half * round_ + threaded * 1.6 * crest
    height = np.where(x < -53.5, 9 * round_, height)
    brass = tinted(np.array((190, 168, 116)) + tone, 1 + 0.03 * finest(rng))
    scene.place(moulded(brass, height, shine=80, ambient=0.4), outline)
    rim = np.maximum(np.abs(x + 53.5) - 0.5, outline)
    scene.paint((92, 78, 48), rim, opacity=0.7)
    return scene


_BRISTLES = np.array(((62, 118, 190), (232, 232, 226), (206, 62, 58), (232, 232, 226)))
_TUFTS = [
    (row, column)
    for row in range(9)
    for column in range(4)
    if (row % 8, column % 3) != (0, 0)
]


def toothbrush(
    rng: Generator,
    *,
    bare: tuple[int, int] = (0, 0),
    splayed: int | None = None,
    lean: complex = 12.0,
) -> Scene:
    """A toothbrush head from above.

    Four columns of tufts on a white head, the neck leaving below.

    Args:
        rng: Where the specimen's chance comes from.
        bare: The run of tufts, first and end, that are gone; there are 32, row by row.
        splayed: The tuft whose bristles lie over its neighbours.
        lean: Where the tips of those bristles lie, seen from the tuft.
    """
    p = posed(rng, turn=0.04, shift=1)
    scene = backdrop(rng, (34, 36, 44), rough=2)
    neck = box(p - 60j, 9, 24, corner=4) - 2
    head = np.minimum(box(p + 10j, 27, 50, corner=20), neck)
    scene.place(moulded((214, 218, 222), dome(head, 7), shine=30), head)
    empty = _TUFTS[slice(*bare)]
    standing = np.zeros((9, 4), dtype=bool)
    for tuft in _TUFTS:
        standing[tuft] = tuft not in empty
    across = 11.8 * (np.arange(4) - 1.5)
    centres = across + 10.6j * (np.arange(9)[:, None] - 5)
    centres = centres + rng.normal(0, 0.35, (9, 4, 2)) @ (1, 1j)
    row = np.clip(np.rint(p.imag / 10.6) + 5, 0, 8).astype(int)
    column = np.clip(np.rint(p.real / 11.8 + 1.5), 0, 3).astype(int)
    q = (p - centres[row, column]).astype(np.complex64)
    tufts = np.abs(q) - 5.3 + 0.25 * clouds(rng, 2)
    distance = np.where(standing[row, column], tufts, 9)
    for tuft in empty:
        scene.paint((120, 124, 130), np.abs(p - centres[tuft]) - 4.2)
        scene.paint((58, 60, 66), np.abs(p - centres[tuft] - 0.5 - 0.5j) - 3.4)
    scene.shadow(distance, depth=0.4, reach=1.6)
    bristles = tinted(_bristle(row, column), 0.97 + 0.12 * finest(rng))
    scene.place(moulded(bristles, dome(distance, 3.5)), distance)
    if splayed is not None:
        tuft = _TUFTS[splayed]
        _splay(scene, p - centres[tuft], _bristle(*tuft), lean)
    return scene


def _bristle(row: int | np.ndarray, column: int | np.ndarray) -> np.ndarray:
    """Colour (..., 3) of the tufts, staggered from column to column."""
    return _BRISTLES[(row + column % 2) % 4]


def _splay(scene: Scene, q: np.ndarray, colour: np.ndarray, lean: complex) -> None:
    for spread in np.exp(1j * np.array((-0.45, -0.15, 0.15, 0.45))):
        bristle = segment(q, 2 * spread, lean * spread) - 1.3
        scene.shadow(bristle, depth=0.5, reach=1.2)
        scene.place(moulded(colour, dome(bristle, 1.3), ambient=0.6), bristle)


def transistor(
    rng: Generator,
    *,
    bent: int | None = None,
    bend: float = 9.0,
    cut: int | None = None,
    length: float = 12.0,
    text: str = "N51",
) -> Scene:
    """A power transistor on perforated board.

    Metal tab, black case with a print, three legs.

    Args:
        rng: Where the specimen's chance comes from.
        bent: The leg that is bent.
        bend: By how many pixels its end is aside.
        cut: The leg that is cut short.
        length: Where it ends, pixels below the middle; whole legs end at 58.
        text: What is printed on the case.
    """
    p = posed(rng, turn=0.03, shift=1)
    scene = _board(rng)
    seat = rng.uniform(-1.5, 1.5)
    tone = rng.normal(0, 4)
    p = p - seat
    eye = 6 - np.abs(p + 46j)
    tab = np.maximum(box(p + 44j, 25, 12, corner=3), eye)
    scene.shadow(box(p + 19j, 26, 36, corner=3), depth=0.5, reach=4)
    for leg, x in enumerate((-15, 0, 15)):
        end = length if leg == cut else 58
        sway = rng.normal(0, 0.4) + (bend if leg == bent else 0)
        _leg(scene, p - x, sway, end)
    marks = 1 + 0.035 * clouds(rng, (40, 1.5))
    brushed = tinted(np.array((182, 184, 188)) + tone, marks)
    scene.place(moulded(brushed, dome(tab, 2.5), shine=20), tab)
    case = box(p + 11j, 26, 23, corner=2.5)
    grit = tinted((58, 57, 60), 1 + 0.05 * finest(rng))
    scene.place(moulded(grit, dome(case, 4), shine=50), case)
    dimple = np.abs(p - (-19 - 27j)) - 2.6
    scene.paint(moulded((46, 45, 48), -dome(dimple, 3)), dimple)
    scene.paint((176, 174, 168), written(p + 14j, text, 6) - 0.8, opacity=0.85)
    scene.paint((176, 174, 168), segment(p, -11, 11) - 0.7, opacity=0.7)
    return scene


def _board(rng: Generator) -> Scene:
    scene = backdrop(rng, (184, 158, 112), rough=4, cell=10)
    pitch = 15
    origin = complex(*rng.uniform(-1, 1, 2))
    dx = fold(PLANE.real - origin.real, pitch)
    dy = fold(PLANE.imag - origin.imag - 6.5, pitch)
    hole = np.hypot(dx, dy)
    scene.paint((170, 112, 62), hole - 4.4, opacity=0.8)
    scene.paint((40, 32, 26), hole - 2.5)
    return scene


def _leg(scene: Scene, q: np.ndarray, sway: float, end: float) -> None:
    y = q.imag
    x = q.real - sway * smooth((y - 18) / 26)
    half = 3.4 - 1.2 * smooth((y - 22) / 2)
    sides = np.abs(x) - half
    leg = np.maximum(sides, np.maximum(8 - y, y - end))
    scene.shadow(np.maximum(leg, -y + 10), depth=0.5, reach=2)
    scene.place(moulded((192, 194, 198), dome(sides, 2.2), shine=60), leg)


def zipper(
    rng: Generator,
    *,
    missing: tuple[int, int] = (0, 0),
    bent: int | None = None,
    bend: float = 0.5,
    side: int = 0,
) -> Scene:
    """A closed zipper.

    Two rows of brass teeth between strips of dark woven tape.

    Args:
        rng: Where the specimen's chance comes from.
        missing: The run of teeth, first and end, that are gone from one row; number 0
            is in the middle.
        bent: The first of two neighbouring teeth that are out of line in that row.
        bend: By how many radians.
        side: The row, 0 on the left or 1 on the right.
    """
    p = posed(rng, turn=0.03, shift=1)
    scene = _tape(rng, p)
    phase = rng.uniform(0, 9)
    pitch = 9.0
    shine = rng.normal(1, 0.05, (2, 32))
    for row, facing in enumerate((-1, 1)):
        y = p.imag - phase - row * pitch / 2
        number = np.rint(y / pitch).astype(int)
        q = (facing * p.real - 5 + 1j * (y - pitch * number)).astype(np.complex64)
        gone = np.zeros_like(y, dtype=bool)
        crooked = ()
        if row == side:
            gone = (missing[0] <= number) & (number < missing[1])
            crooked = () if bent is None else (bent, bent + 1)
        _teeth(scene, q, gone | np.isin(number, crooked), shine[row, number % 32])
        for tooth in crooked:
            q = facing * p.real - 9 + 1j * (y - pitch * tooth)
            _teeth(scene, turned(q, bend) + 4, False, np.float32([[1.0]]))
    return scene


def _tape(rng: Generator, p: np.ndarray) -> Scene:
    scene = backdrop(rng, (206, 205, 202), rough=2)
    edge = np.abs(p.real) - 50
    column = np.round(p.real / 4)
    along = p.imag + 2 * (column % 2)
    threads = np.cos(p.real * 2 * np.pi / 4) * np.cos(along * 2 * np.pi / 4)
    weave = 1 + 0.20 * threads + 0.06 * clouds(rng, 3)
    cloth = tinted((58, 62, 84), weave + 0.05 * clouds(rng, (3, 60)))
    scene.shadow(edge, depth=0.4, reach=3)
    scene.place(cloth, edge)
    cord = np.abs(np.abs(p.real) - 17.5) - 3.5
    scene.paint(moulded(cloth * 0.8, dome(cord, 3.5) + 0.5 * threads), cord)
    scene.paint((30, 32, 46), np.abs(p.real) - 6.5, opacity=0.7)
    return scene


def _teeth(
    scene: Scene, q: np.ndarray, gone: np.ndarray | bool, tone: np.ndarray
) -> None:
    shape = np.minimum(box(q - 2.5, 8, 2.1, corner=1.4), np.abs(q + 4) - 3.0)
    shape = np.where(gone, 9, shape)
    scene.shadow(shape, depth=0.55, reach=1.2)
    brass = tinted((190, 154, 80), tone)
    scene.place(moulded(brass, dome(shape, 2.4), shine=90), shape)
