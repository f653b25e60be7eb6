"""Any tree of photographs in the MVTec AD layout, read into samples."""

__all__ = [
    "Layout",
    "chosen",
    "folder",
    "folder_at",
    "folder_without_masks",
    "read_tree",
    "to_samples",
]

import os
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cl_flow.data.datasets.base import COLUMNS, DATASETS
from cl_flow.data.images import PICTURES

# A mask calls every non-zero pixel a defect, and JPEG smears non-zero pixels around an
# edge: no JPEG masks.
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
IMAGE_SUFFIXES = (*MASK_SUFFIXES, ".jpg", ".jpeg", ".jfif", ".webp")

# Names of folders that hold normal images, whatever the layout calls its own.
NORMAL = {"good", "ok", "normal", "nominal", "defect_free", "defect-free", "no_defect"}

Row = tuple[str, str, str, str, str]  # category, split, defect, image_path, mask_path


@dataclass(frozen=True)
class Layout:
    """Layout of a category's images and masks, as patterns.

    Below its folder.

    Args:
        normal: Name of the folders with normal images.
        images: Folder of the images of one `{split}` and `{defect}`.
        masks: Folder of the masks of one `{defect}`: `<stem>_mask.png` or `<stem>.png`
            for the image `<stem>.*`.
    """

    normal: str = "good"
    images: str = "{split}/{defect}"
    masks: str = "ground_truth/{defect}"

    def __str__(self) -> str:
        train = self.images.format(split="train", defect=self.normal)
        test = self.images.format(split="test", defect="<defect>")
        masks = self.masks.format(defect="<defect>")
        places = f"<category>/{train}/*, <category>/{test}/*"
        return f"{places} and <category>/{masks}/<stem>_mask.png"


MVTEC = Layout()


def read_tree(
    root: str | Path,
    *,
    dataset: str,
    categories: Iterable[str] | None = None,
    layout: Layout = MVTEC,
    masks: bool = True,
) -> pd.DataFrame:
    """Read a tree of photographs into samples.

    It holds `<category>/train`, `<category>/test` and `<category>/ground_truth`.

    Images are PNG, JPEG, BMP, TIFF or WebP; hidden files and everything else
    (`readme.txt`, …) are passed over, pictures of other kinds and in folders further
    below with a warning. Only names are looked at:
    `cl_flow.data.datasets.check.validate` opens the files.

    Args:
        root: The folder that holds the categories.
        dataset: What the column `dataset` says.
        categories: Names of the categories to read; default every folder that has a
            `train` folder.
        layout: Where a category keeps its images and masks.
        masks: Whether every defect must have a mask; without one its `mask_path` is
            `""`, and metrics of pixels are NaN where no defect has one.

    Returns:
        One row per image: `dataset category split label defect image_path mask_path`.

    Raises:
        FileNotFoundError: If the root, a folder of images or a mask is missing.
        NotADirectoryError: If the root is a file.
        ValueError: If the tree has another shape.
    """
    root = folder_at(root, expected=layout)
    rows = [
        row
        for name in _categories(root, categories, layout)
        for row in _category(root / name, layout, masks)
    ]
    return to_samples(rows, dataset=dataset)


@DATASETS
def folder(
    root: str | Path, *, categories: Iterable[str] | None = None
) -> pd.DataFrame:
    """Read your own photographs, laid out as MVTec AD.

    The dataset takes the name of the root folder.

    Args:
        root: The folder that holds `<category>/train/good`, `<category>/test/<defect>`
            and `<category>/ground_truth/<defect>`.
        categories: Names of the categories to read; default all.

    Raises:
        FileNotFoundError, NotADirectoryError, ValueError: As `read_tree`.
    """
    return read_tree(
        root, dataset=folder_at(root, expected=MVTEC).name, categories=categories
    )


@DATASETS
def folder_without_masks(
    root: str | Path, *, categories: Iterable[str] | None = None
) -> pd.DataFrame:
    """Read your own photographs where images are labelled and pixels are not.

    As `folder`, for metrics of images; those of pixels are NaN.

    Args:
        root: The folder that holds `<category>/train/good` and
            `<category>/test/<defect>`; masks are read where there are any.
        categories: Names of the categories to read; default all.

    Raises:
        FileNotFoundError, NotADirectoryError, ValueError: As `read_tree`.
    """
    name = folder_at(root, expected=MVTEC).name
    return read_tree(root, dataset=name, categories=categories, masks=False)


def folder_at(root: str | Path, *, expected: object) -> Path:
    """Return `root` as an absolute path to an existing folder.

    Args:
        root: A path, relative or with `~`.
        expected: What the folder should hold, for the error.

    Raises:
        FileNotFoundError: If there is nothing at `root`.
        NotADirectoryError: If `root` is a file.
    """
    path = Path(os.path.abspath(Path(root).expanduser()))
    if not path.exists():
        raise FileNotFoundError(
            f"Expected a folder with {expected}; got a path that does not exist: {path}"
        )
    if not path.is_dir():
        raise NotADirectoryError(
            f"Expected a folder with {expected}; got a file: {path}"
        )
    return path


def to_samples(rows: Iterable[Row], *, dataset: str) -> pd.DataFrame:
    """Make samples of rows.

    Label them, and sort by category, split (train first), defect and file name.

    Args:
        rows: Tuples `(category, split, defect, image_path, mask_path)`; the defect of a
            normal image is `"good"`.
        dataset: What the column `dataset` says.
    """
    ordered = sorted(
        rows,
        key=lambda row: (row[0], row[1] == "test", row[2], os.path.basename(row[3])),
    )
    table = [
        (dataset, category, split, int(defect != "good"), defect, image, mask)
        for category, split, defect, image, mask in ordered
    ]
    return pd.DataFrame(table, columns=COLUMNS)


def chosen(wanted: Iterable[str], *, known: Collection[str], where: Path) -> list[str]:
    """Return the wanted categories, each once.

    Args:
        wanted: Names of categories, or a single name.
        known: Names of the categories that are there.
        where: The folder or table they were looked for in, for the error.

    Raises:
        ValueError: If a wanted category is not known.
    """
    wanted = dict.fromkeys([wanted] if isinstance(wanted, str) else wanted)
    if missing := [name for name in wanted if name not in known]:
        raise ValueError(
            f"Expected category {', '.join(missing)} in {where}; known there: "
            f"{', '.join(known)} "
            "(choose some with categories=)"
        )
    return list(wanted)


def _categories(root: Path, wanted: Iterable[str] | None, layout: Layout) -> list[str]:
    known = [name for name in _subfolders(root) if (root / name / "train").is_dir()]
    if not known and (root / "train").is_dir():
        raise ValueError(
            f"Expected the folder that holds the categories; got one category, {root}: "
            f"pass {root.parent}"
        )
    if not known:
        holds = ", ".join(_subfolders(root)[:5]) or "no folders"
        raise ValueError(
            f"Expected {layout}; got no category with a train folder in {root} (it "
            f"holds {holds})"
        )
    return chosen(known if wanted is None else wanted, known=known, where=root)


def _category(home: Path, layout: Layout, masks: bool) -> Iterator[Row]:
    training = home / layout.images.format(split="train", defect=layout.normal)
    if not training.is_dir():
        holds = ", ".join(_subfolders(home / "train")) or "no folders"
        raise FileNotFoundError(
            f"Expected normal images in {training}; got no such folder (train holds "
            f"{holds})"
        )
    if stray := [name for name in _subfolders(home / "train") if name != layout.normal]:
        raise ValueError(
            f"Expected only normal images in {home / 'train'}, in the folder "
            f"{layout.normal}; "
            f"got {home / 'train' / stray[0]}: move it to {home / 'test'}"
        )
    yield from (
        (home.name, "train", "good", str(path), "") for path in _images(training)
    )
    defects = _subfolders(home / "test")
    if not defects:
        raise FileNotFoundError(
            f"Expected {layout}; got no test images in {home / 'test'}"
        )
    for defect in defects:
        yield from _test_rows(home, defect, layout, masks)


def _test_rows(home: Path, defect: str, layout: Layout, masks: bool) -> Iterator[Row]:
    folder = home / layout.images.format(split="test", defect=defect)
    if defect == layout.normal:
        for path in _images(folder):
            yield home.name, "test", "good", str(path), ""
        return
    if defect.casefold() in NORMAL:
        raise ValueError(
            f"Expected the normal test images in {home / 'test' / layout.normal}; got "
            f"{folder}, which would be a kind of defect: rename the folder."
        )
    images = _images(folder)
    where = home / layout.masks.format(defect=defect)
    _check_stems(images, twins=masks)
    if not masks:
        _tell_left_out(where, MASK_SUFFIXES)
    known = {path.stem: path for path in _files(where, MASK_SUFFIXES)}
    for path in images:
        mask = known.get(f"{path.stem}_mask", known.get(path.stem))
        if mask is None and masks:
            raise FileNotFoundError(
                f"Expected a mask for the defect in {path} at "
                f"{where / path.stem}_mask.png "
                f"(or without _mask; {' '.join(MASK_SUFFIXES)}); got none. For metrics "
                "of images alone: dataset='folder_without_masks', or "
                "study(folder, masks=False)."
            )
        yield home.name, "test", defect, str(path), str(mask or "")


def _check_stems(images: list[Path], *, twins: bool) -> None:
    """Refuse masks that lie beside the images, and images that would share a mask."""
    stems = Counter(path.stem for path in images)
    for path in images:
        if twins and stems[path.stem] > 1:
            sharing = [other.name for other in images if other.stem == path.stem]
            raise ValueError(
                f"Expected one image for each mask; got {' and '.join(sharing)} in "
                f"{path.parent}: rename or remove all but one."
            )
        if path.stem.removesuffix("_mask") in stems and path.stem.endswith("_mask"):
            raise ValueError(
                f"Expected masks apart from the images; got {path}: remove it, or move "
                "it to ground_truth."
            )


def _images(where: Path) -> list[Path]:
    if not (files := _files(where, IMAGE_SUFFIXES)):
        raise FileNotFoundError(
            f"Expected images ({' '.join(IMAGE_SUFFIXES)}) in {where}; got none"
        )
    _tell_left_out(where, IMAGE_SUFFIXES)
    return files


def _tell_left_out(where: Path, read: tuple[str, ...]) -> None:
    """Warn of pictures that are not read: of other kinds, or in folders below."""
    others = PICTURES.difference(read)
    left_out = [
        path
        for path in where.rglob("*")
        if path.suffix.lower() in (others if path.parent == where else PICTURES)
        and path.name[0] != "."
        and path.is_file()
    ]
    if left_out:
        warnings.warn(
            f"{len(left_out)} pictures of {where} are left out, for example "
            f"{min(left_out)}: those that are read lie in the folder itself and are "
            f"{' '.join(read)}.",
            stacklevel=2,
        )


def _files(where: Path, suffixes: Collection[str]) -> list[Path]:
    if not where.is_dir():
        return []
    return sorted(
        path
        for path in where.iterdir()
        if path.suffix.lower() in suffixes and path.name[0] != "." and path.is_file()
    )


def _subfolders(where: Path) -> list[str]:
    if not where.is_dir():
        return []
    return sorted(
        path.name for path in where.iterdir() if path.is_dir() and path.name[0] != "."
    )
