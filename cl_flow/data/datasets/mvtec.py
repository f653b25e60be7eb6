"""MVTec AD: fifteen categories of objects and textures.

They are read where they are, or fetched from the first mirror alive.
"""

__all__ = ["CATEGORIES", "MIRRORS", "fetch", "is_complete", "mvtec", "terms"]

import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cl_flow.data.datasets.base import DATASETS
from cl_flow.data.datasets.folder import read_tree
from cl_flow.paths import ASSETS, DATA

CATEGORIES = (
    "bottle",
    "cable",
    "capsule",
    "carpet",
    "grid",
    "hazelnut",
    "leather",
    "metal_nut",
    "pill",
    "screw",
    "tile",
    "toothbrush",
    "transistor",
    "wood",
    "zipper",
)
MIRRORS = ASSETS / "mirrors.json"


@DATASETS
def mvtec(root: str | Path, *, categories: Iterable[str] = CATEGORIES) -> pd.DataFrame:
    """Read MVTec AD from its own layout.

    References:
        The MVTec anomaly detection dataset (Bergmann et al., 2021)
        https://doi.org/10.1007/s11263-020-01400-4

    Args:
        root: The folder that holds the fifteen categories, as `fetch` returns it.
        categories: Names of the categories to read; default all fifteen.

    Raises:
        FileNotFoundError, NotADirectoryError, ValueError: As
            `cl_flow.data.datasets.folder.read_tree`.
    """
    if not Path(root).expanduser().exists():
        raise FileNotFoundError(
            f"Expected MVTec AD in {root}; got no such folder. `cl-flow data fetch` "
            f"downloads it once you accept its licence ({terms()}); where it is "
            "elsewhere, root= names the folder."
        )
    return read_tree(root, dataset="mvtec", categories=categories)


def terms() -> str:
    """Size, licence and home of MVTec AD, in words."""
    source = json.loads(MIRRORS.read_text())["mvtec"]
    size = f"{source['bytes'] / 1e9:.1f} GB"
    return f"{size}, {source['licence']}, {source['homepage']}"


def fetch(
    root: str | Path | None = None,
    *,
    mirrors: Sequence[str] | str | Path | None = None,
    sha256: str | None = None,
) -> Path:
    """Return a folder with MVTec AD, downloading it where needed.

    The archive (5 GB) is fetched only where the fifteen categories are not there.

    The mirrors are tried in order until one yields the archive with the right hash; it
    is unpacked beside `root` and moved there whole, so an interruption leaves no half a
    dataset. An archive already beside `root` is used and kept. The licence (CC BY-NC-SA
    4.0) goes to pooch's log, which a notebook shows.

    Args:
        root: Where the categories are or shall be; default `DATA / "raw" / "mvtec"`.
        mirrors: URLs to try in order, or the path of a file like `data/mirrors.json`;
            default that file.
        sha256: Hash of the archive; default the one in the file of mirrors.

    Raises:
        ValueError: If `root` holds something else than the fifteen categories.
        OSError: If the disk is too small, or no mirror yields the archive
            (`ConnectionError`).
    """
    root = _place(root)
    if is_complete(root):
        return root
    if root.is_file() or (root.is_dir() and any(root.iterdir())):
        missing = (
            ", ".join(name for name in CATEGORIES if not (root / name).is_dir())
            or "train/good in each"
        )
        raise ValueError(
            f"Expected all of MVTec AD or nothing in {root}; got a folder without "
            f"{missing}: move it away, "
            "pass another root, or read a part with mvtec(root, categories=…)"
        )
    source = _source(mirrors, sha256)
    archive = root.parent / source["archive"]
    kept = archive.exists()
    _download(archive, source, root)
    _unpack(archive, root)
    if not kept:
        archive.unlink()
    return root


def is_complete(root: str | Path | None = None) -> bool:
    """Whether all fifteen categories are there.

    Args:
        root: Where they would be; default `DATA / "raw" / "mvtec"`.
    """
    root = _place(root)
    return all((root / name / "train" / "good").is_dir() for name in CATEGORIES)


def _place(root: str | Path | None) -> Path:
    return Path(os.path.abspath(Path(root or DATA / "raw" / "mvtec").expanduser()))


def _source(
    mirrors: Sequence[str] | str | Path | None, sha256: str | None
) -> dict[str, Any]:
    """Return the entry of the file of mirrors.

    With the URLs and the hash given in its place.
    """
    urls = [mirrors] if isinstance(mirrors, str) and "://" in mirrors else mirrors
    file = urls if isinstance(urls, str | Path) else MIRRORS
    source = json.loads(Path(file).read_text())["mvtec"]
    if urls and file is MIRRORS:
        source["mirrors"] = list(urls)
    if sha256:
        source |= {"sha256": sha256, "bytes": 0}
    return source


def _download(archive: Path, source: dict[str, Any], root: Path) -> None:
    import pooch

    _check_space(archive.parent, 2 * source.get("bytes", 0))
    pooch.get_logger().info(
        "MVTec AD, licence %s (no commercial use): %s",
        source["licence"],
        source["homepage"],
    )
    downloader = pooch.HTTPDownloader(progressbar=True, chunk_size=2**20)
    failures = []
    for url in source["mirrors"]:
        try:
            pooch.retrieve(
                url,
                f"sha256:{source['sha256']}",
                archive.name,
                archive.parent,
                downloader=downloader,
            )
            return
        # requests' errors are OSErrors; a wrong hash is a ValueError.
        except (OSError, ValueError) as error:
            failures.append(f"{url} ({_reason(error)})")
    raise ConnectionError(
        f"Expected {archive.name} from one of {len(failures)} mirrors; got "
        f"{'; '.join(failures)}: download it by hand from {source['homepage']}, and "
        f"put it at {archive} or unpack it to {root}, so that {root / CATEGORIES[0]} "
        "exists"
    )


def _reason(error: Exception) -> str:
    """Return what went wrong, without the URL.

    requests repeats it once or twice.
    """
    cause = getattr(error.args[0], "reason", error) if error.args else error
    return str(cause).split(" for url")[0]


def _check_space(folder: Path, needed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder).free) < needed:
        raise OSError(
            f"Expected {needed / 1e9:.1f} GB free for MVTec AD; got {free / 1e9:.1f} "
            f"GB in {folder}"
        )


def _unpack(archive: Path, root: Path) -> None:
    with tempfile.TemporaryDirectory(
        dir=root.parent, prefix=f".{root.name}-", ignore_cleanup_errors=True
    ) as scratch:
        tree = Path(scratch, "tree")
        with tarfile.open(archive) as packed:
            # Nothing that leaves the folder, no device, no foreign owner or permission.
            packed.extractall(tree, filter="data")
        tree = next(
            (folder for folder in (tree, *tree.iterdir()) if is_complete(folder)), None
        )
        if tree is None:
            raise ValueError(
                "Expected the fifteen categories of MVTec AD; got an archive without "
                f"them: {archive}"
            )
        # The archive's folders are read-only, and such a folder cannot be moved.
        tree.chmod(0o755)
        if root.is_dir():  # and empty; Windows renames onto nothing that is there
            root.rmdir()
        tree.rename(root)
