"""Images and masks from disk.

Whatever a camera or a labelling tool wrote becomes 8-bit RGB or a boolean array.
"""

__all__ = [
    "PICTURES",
    "image_size",
    "n_pages",
    "read_image",
    "read_mask",
    "read_pixels",
]

import struct
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from cl_flow.calls import checked

# What Pillow raises, beside OSError, on files that are cut short, damaged or beyond its
# limit of pixels.
_UNREADABLE = (
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    Image.DecompressionBombError,
)

# Suffixes of pictures, whether Pillow reads them or not.
PICTURES = frozenset(
    ".png .jpg .jpeg .jfif .jpe .jp2 .bmp .dib .tif .tiff .webp .gif .ppm .pgm .pnm "
    ".heic .heif .avif .dng .nef .cr2 .arw .raw".split()
)

# How Pillow sets upright what EXIF says is turned.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Chunks of a PNG that may hold EXIF, wherever they stand.
_PNG_TAGS = (b"eXIf", b"iTXt", b"zTXt", b"tEXt")


@checked
def read_image(path: str | Path) -> Image.Image:
    """Read an image as 8-bit RGB, turned upright by its EXIF orientation.

    Grey and palette images become RGB, transparency is dropped. 16-bit grey is scaled
    linearly, 65535 to 255, whatever range the picture uses: two pictures keep their
    relative brightness. Floating-point pixels are read as fractions of white and must
    lie in [0, 1].

    Args:
        path: A PNG, JPEG, BMP, TIFF or WebP file; of several pages the first.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If the file is no image, is cut short, or holds numbers outside its
            range.
    """
    image = _decode(path)
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_to_8_bit(np.asarray(image), path))
    return _opaque(image).convert("RGB")


def read_pixels(path: str | Path) -> torch.Tensor:
    """Bytes (3, H, W) of an image, the same to the bit as `read_image` has them.

    Ordinary PNG and JPEG files are decoded by torchvision, which takes less time and
    does not hold Python's lock: as many threads decode as there are cores.

    Args:
        path: As for `read_image`.

    Raises:
        FileNotFoundError, ValueError: As `read_image`.
    """
    pixels = _decode_plain(path)
    if pixels is not None:
        return pixels
    return torch.from_numpy(np.array(read_image(path))).permute(2, 0, 1)


@checked
def read_mask(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """Read a mask: every pixel that is not black is a defect.

    Args:
        path: A mask in any mode that `read_image` knows, transparency ignored; `""`,
            the mask of a normal image, reads as a mask without defects.
        size: Width and height of the image in pixels, as `image.size`.

    Returns:
        Booleans `(height, width)`.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If the file is no image, is cut short, has another size, is a JPEG
            whatever its name, or holds numbers that are none.
    """
    if not str(path):
        return np.zeros(size[::-1], dtype=bool)
    mask = _decode(path)
    _check_mask(mask, size, path)
    if mask.mode in ("CMYK", "YCbCr"):  # where zeros are not black
        mask = mask.convert("RGB")
    if mask.mode == "LAB":
        mask = mask.getchannel("L")
    pixels = _deep_labels(path)
    if pixels is None:
        pixels = np.asarray(_opaque(mask))
    if not np.isfinite(pixels).all():
        raise ValueError(f"Expected finite numbers in a mask; got NaN or ∞: {path}")
    return pixels.any(axis=2) if pixels.ndim == 3 else pixels != 0


def _check_mask(mask: Image.Image, size: tuple[int, int], path: str | Path) -> None:
    if mask.size != tuple(size):
        way_out = ""
        if mask.size == tuple(size)[::-1]:
            way_out = " (is the photograph turned by its EXIF orientation alone?)"
        raise ValueError(
            f"Expected a mask of its image's size, {_by(size)} pixels; got "
            f"{_by(mask.size)}{way_out}: {path}"
        )
    if mask.format == "JPEG":
        raise ValueError(
            "Expected a mask without loss, such as PNG; got a JPEG, which smears "
            f"pixels that are not black around every edge: {path}"
        )


def _deep_labels(path: str | Path) -> np.ndarray | None:
    """Where a PNG with colour or transparency at 16 bits a number is not black (h, w).

    Pillow keeps the upper 8 of them alone. Transparency is left aside; upright by its
    EXIF orientation. None for any other file.
    """
    with open(path, "rb") as file:
        head = file.read(26)
    grey_alpha, rgb, rgb_alpha = 4, 2, 6
    is_deep = head.startswith(b"\x89PNG") and head[24] == 16
    if not is_deep or head[25] not in (grey_alpha, rgb, rgb_alpha):
        return None
    from torchvision.io import ImageReadMode, decode_image, read_file

    pixels = decode_image(read_file(str(path)), ImageReadMode.UNCHANGED).numpy()
    n_colours = 1 if head[25] == grey_alpha else 3
    with Image.open(path) as image:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    labels = Image.fromarray(pixels[:n_colours].any(0).astype(np.uint8))
    return np.asarray(labels if turn is None else labels.transpose(turn))


@checked
def image_size(path: str | Path) -> tuple[int, int]:
    """Return width and height in pixels as `read_image` would.

    Of JPEG and BMP, only the header is read.

    Args:
        path: A PNG, JPEG, BMP or TIFF file.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If the file is no image or its header is damaged.
    """
    try:
        with Image.open(path) as image:
            if (
                image.format == "TIFF"
            ):  # Pillow turns these itself, at some point that depends on its version
                image.load()
            sideways = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            return image.size[::-1] if sideways else image.size
    except (OSError, *_UNREADABLE) as error:
        raise _unreadable(path, error) from error


def n_pages(path: str | Path) -> int:
    """Pages, or frames, of a picture; only the first is read.

    Args:
        path: As for `read_image`.

    Raises:
        FileNotFoundError, ValueError: As `image_size`.
    """
    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1)
    except (OSError, *_UNREADABLE) as error:
        raise _unreadable(path, error) from error


def _decode_plain(path: str | Path) -> torch.Tensor | None:
    """Pixels of a file that needs nothing but decoding; None for every other one."""
    try:
        from torchvision.io import ImageReadMode, decode_image, read_file

        with Image.open(path) as image:
            if not _is_plain(image):
                return None
        data = read_file(str(path))
        if image.format == "PNG" and not _is_plain_png(memoryview(data.numpy())):
            return None
        return decode_image(data, ImageReadMode.RGB)
    except (ImportError, OSError, RuntimeError, *_UNREADABLE):
        return None  # `read_image` says what is wrong


def _is_plain(image: Image.Image) -> bool:
    """Whether an image is upright RGB or grey, without transparency."""
    return (
        image.format in ("PNG", "JPEG")
        and image.mode in ("RGB", "L")
        and "transparency" not in image.info
        and image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    )


def _is_plain_png(content: memoryview) -> bool:
    """Whether no chunk tells of a turned image, and a colour has 8 bits.

    Pillow's header shows neither for certain: EXIF may stand behind the pixels.
    """
    at = 8
    while at < len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind in _PNG_TAGS:
            return False
        at += length + 12
    return content[24] == 8


def _decode(path: str | Path) -> Image.Image:
    """Read the whole file.

    Only decoding every pixel shows that none is missing.
    """
    try:
        with Image.open(path) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return image
    except (OSError, *_UNREADABLE) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, error: Exception) -> Exception:
    if isinstance(error, Image.DecompressionBombError):
        return ValueError(
            f"Expected an image within Pillow's limit; {error} Raise "
            f"PIL.Image.MAX_IMAGE_PIXELS if you trust it: {path}"
        )
    if isinstance(error, UnidentifiedImageError):
        return ValueError(
            "Expected an image; got a file that is empty, cut short or no image: "
            f"{path}"
        )
    if (
        isinstance(error, OSError) and error.errno is not None
    ):  # the system's own: no such file, no permission
        return error
    return ValueError(
        f"Expected a whole image; got one that is cut short or unreadable ({error}): "
        f"{path}"
    )


def _to_8_bit(pixels: np.ndarray, path: str | Path) -> np.ndarray:
    white = 1.0 if pixels.dtype.kind == "f" else 65535
    low = pixels.min()
    high = pixels.max()
    if not (low >= 0 and high <= white):
        kind = "floating-point" if white == 1.0 else "integer"
        raise ValueError(
            f"Expected {kind} pixels in [0, {white:g}]; got [{low:g}, {high:g}]: {path}"
        )
    return np.rint(pixels * (255 / white)).astype(np.uint8)


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode in (
        "P",
        "PA",
    ):  # by way of RGBA, or Pillow warns of transparency in the palette
        image = image.convert("RGBA")
    return image.convert({"RGBA": "RGB", "LA": "L"}.get(image.mode, image.mode))


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"
