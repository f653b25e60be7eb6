"""Whatever a camera wrote is read as RGB, whatever a labelling tool wrote as a mask;
what is broken is named.
"""

import sys
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

import cl_flow.data.images as module
from cl_flow.data.images import image_size, read_image, read_mask, read_pixels

SIZE = (6, 4)
GREY = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10
RGB = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], axis=2)
GREY_RGB = np.stack([GREY] * 3, axis=2)
FORMATS = [
    ("x.png", {}),
    ("x.bmp", {}),
    ("x.tif", {}),
    ("x.tif", {"compression": "tiff_lzw"}),
    ("x.jpg", {}),
]


def noise(size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    )


def read_both(path) -> Image.Image:
    """An image by either reader, which agree to the bit."""
    image = read_image(path)
    pixels = read_pixels(path)
    assert pixels.dtype == torch.uint8
    np.testing.assert_array_equal(pixels.permute(1, 2, 0).numpy(), np.asarray(image))
    return image


def palette(transparency: int | bytes | None = None) -> Image.Image:
    image = Image.new("P", SIZE)
    image.putpalette([0, 0, 0, 200, 100, 50, 0, 0, 0])
    image.putdata([0, 1, 2] * 8)
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("grey.png", Image.fromarray(GREY), GREY_RGB),
        ("rgb.png", Image.fromarray(RGB), RGB),
        ("rgb.bmp", Image.fromarray(RGB), RGB),
        ("rgba.png", Image.fromarray(np.dstack([RGB, GREY])), RGB),
        ("grey-alpha.png", Image.fromarray(np.dstack([GREY, GREY])), GREY_RGB),
        (
            "bits.png",
            Image.fromarray(GREY > 100),
            np.stack([(GREY > 100) * 255] * 3, axis=2),
        ),
        ("16.png", Image.fromarray(GREY.astype(np.uint16) * 257), GREY_RGB),
        ("16.tif", Image.fromarray(GREY.astype(np.uint16) * 257), GREY_RGB),
        (
            "16-big-endian.tif",
            Image.fromarray(GREY.astype(">u2") * np.array(257, dtype=">u2")),
            GREY_RGB,
        ),
        ("32.tif", Image.fromarray(GREY.astype(np.int32) * 257), GREY_RGB),
        ("float.tif", Image.fromarray((GREY / 255).astype(np.float32)), GREY_RGB),
    ],
)
def test_every_mode_reads_as_the_same_rgb(tmp_path, name, image, expected):
    image.save(tmp_path / name)
    read = read_both(tmp_path / name)
    assert (read.mode, read.size) == ("RGB", SIZE)
    np.testing.assert_array_equal(np.asarray(read), expected)


@pytest.mark.parametrize("transparency", [None, 1, b"\x00\x80\xff"])
def test_palette_reads_as_its_colours(tmp_path, transparency):
    palette(transparency).save(tmp_path / "palette.png")
    pixels = np.asarray(read_both(tmp_path / "palette.png")).reshape(-1, 3)
    np.testing.assert_array_equal(pixels, [[0, 0, 0], [200, 100, 50], [0, 0, 0]] * 8)


def test_16_bit_keeps_relative_brightness(tmp_path):
    Image.fromarray(np.full((4, 6), 4095, dtype=np.uint16)).save(
        tmp_path / "12-bit.png"
    )
    assert np.asarray(read_both(tmp_path / "12-bit.png")).max() == round(4095 / 257)


@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        (
            np.full((4, 6), 255, dtype=np.float32),
            r"floating-point pixels in \[0, 1\]; got \[255, 255\]",
        ),
        (
            np.full((4, 6), -0.5, dtype=np.float32),
            r"floating-point pixels in \[0, 1\]; got \[-0.5, -0.5\]",
        ),
        (
            np.full((4, 6), np.nan, dtype=np.float32),
            r"floating-point pixels in \[0, 1\]; got \[nan, nan\]",
        ),
        (
            np.full((4, 6), 70000, dtype=np.int32),
            r"integer pixels in \[0, 65535\]; got \[70000, 70000\]",
        ),
    ],
)
def test_numbers_outside_their_range_are_refused(tmp_path, pixels, kind):
    Image.fromarray(pixels).save(tmp_path / "wide.tif")
    for reader in (read_image, read_pixels):
        with pytest.raises(ValueError, match=f"{kind}.*wide.tif"):
            reader(tmp_path / "wide.tif")


@pytest.mark.parametrize(("name", "options"), FORMATS[2:] + FORMATS[:1])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_to_image_size_and_mask_alike(
    tmp_path, name, options, orientation
):
    upright = {
        1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1], 5: RGB.swapaxes(0, 1),
        6: np.rot90(RGB, -1), 7: np.rot90(RGB[:, ::-1], -1), 8: np.rot90(RGB, 1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if name.endswith("jpg") else options
    Image.fromarray(RGB).save(tmp_path / name, exif=exif, **options)
    read = read_both(tmp_path / name)
    assert image_size(tmp_path / name) == read.size == upright.shape[1::-1]
    np.testing.assert_allclose(
        np.asarray(read).astype(int), upright, atol=20 if name.endswith("jpg") else 0
    )
    if not name.endswith("jpg"):
        np.testing.assert_array_equal(
            read_mask(tmp_path / name, read.size), upright.any(axis=2)
        )


@pytest.mark.parametrize(("name", "options"), FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_truncated_image_is_named(tmp_path, name, options, share):
    path = tmp_path / name
    noise().save(path, **options)
    assert read_both(path).size == (64, 48)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # Pillow warns of some broken TIFF headers, and raises as well
        for reader in (read_image, read_pixels):
            with pytest.raises(ValueError, match=f"^Expected .*image; got .*{name}$"):
                reader(path)


@pytest.mark.parametrize("content", [b"", b"no image at all"])
@pytest.mark.parametrize(
    "reader", [read_image, read_pixels, image_size, lambda path: read_mask(path, SIZE)]
)
def test_a_file_that_is_no_image_is_named(tmp_path, content, reader):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ValueError, match="empty, cut short or no image: .*x.png$"):
        reader(tmp_path / "x.png")


@pytest.mark.parametrize(
    "reader", [read_image, read_pixels, image_size, lambda path: read_mask(path, SIZE)]
)
def test_a_missing_file_stays_a_missing_file(tmp_path, reader):
    with pytest.raises(FileNotFoundError, match="absent.png"):
        reader(tmp_path / "absent.png")


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(np.where(GREY > 100, 255, 0).astype(np.uint8)),
        Image.fromarray(np.where(GREY > 100, 3, 0).astype(np.uint8)),
        Image.fromarray(GREY > 100),
        Image.fromarray(np.where(GREY > 100, 1, 0).astype(np.uint16)),
        Image.fromarray(
            np.stack(
                [GREY * 0, GREY * 0, np.where(GREY > 100, 9, 0).astype(np.uint8)],
                axis=2,
            )
        ),
        Image.fromarray(
            np.dstack(
                [np.where(GREY > 100, 9, 0).astype(np.uint8)] * 3 + [GREY * 0 + 255]
            )
        ),
    ],
    ids=["0-255", "0-3", "bits", "16-bit", "one channel", "opaque rgba"],
)
def test_any_pixel_that_is_not_black_is_a_defect(tmp_path, image):
    image.save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png", SIZE)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, GREY > 100)


def test_palette_mask_goes_by_colour_not_by_index(tmp_path):
    palette().save(tmp_path / "mask.png")
    np.testing.assert_array_equal(
        read_mask(tmp_path / "mask.png", SIZE).ravel(), [False, True, False] * 8
    )


def test_no_mask_reads_as_no_defect():
    mask = read_mask("", SIZE)
    assert mask.shape == (4, 6) and mask.dtype == bool and not mask.any()


def test_mask_of_another_size_is_refused(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "mask.png")
    with pytest.raises(
        ValueError,
        match="Expected a mask of its image's size, 4 x 7 pixels; got 6 x 4: .*mask.png$",
    ):
        read_mask(tmp_path / "mask.png", (4, 7))


# ---- the quick reader


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
def test_ordinary_files_take_the_quick_way_and_without_it_the_other(
    tmp_path, monkeypatch, name, mode
):
    noise().convert(mode).save(tmp_path / name)
    quick = read_both(tmp_path / name)
    monkeypatch.setattr(module, "read_image", None)
    assert read_pixels(tmp_path / name).shape == (3, 48, 64)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "torchvision.io", None)
    assert np.array_equal(read_both(tmp_path / name), quick)


def test_a_png_that_turns_after_its_pixels_is_turned(tmp_path):
    """A chunk with EXIF may stand behind the pixels, where no header shows it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    noise().save(tmp_path / "x.png", exif=exif)
    data = (tmp_path / "x.png").read_bytes()
    begin = data.index(b"eXIf") - 4
    end = begin + 12 + int.from_bytes(data[begin : begin + 4], "big")
    moved = data[:begin] + data[end:-12] + data[begin:end] + data[-12:]
    (tmp_path / "x.png").write_bytes(moved)
    assert read_both(tmp_path / "x.png").size == (48, 64)


def test_a_png_of_16_bits_a_colour_is_read_as_pillow_reads_it(tmp_path):
    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data)
        return len(data).to_bytes(4, "big") + name + data + crc.to_bytes(4, "big")

    pixels = np.random.default_rng(0).integers(0, 2**16, (4, 6, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = (6).to_bytes(4, "big") + (4).to_bytes(4, "big") + bytes([16, 2, 0, 0, 0])
    (tmp_path / "x.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    read_both(tmp_path / "x.png")


# ---- masks in every mode that labelling tools write

MASK = np.zeros((12, 16), bool)
MASK[2:8, 4:14] = True
LABELS = Image.fromarray((MASK * 255).astype(np.uint8))


def png_of_16_bits(path, pixels, colour_type) -> None:
    """A PNG (h, w, channels) of 16 bits a number, as Pillow does not write it."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + name + content + checksum

    h, w = pixels.shape[:2]
    head = (
        w.to_bytes(4, "big") + h.to_bytes(4, "big") + bytes([16, colour_type, 0, 0, 0])
    )
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    body = (
        chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def deep(colour_type, n_colours, opacity=None):
    label = 3  # nothing of it is in the upper eight bits

    def write(path):
        pixels = np.stack([MASK * label] * n_colours, axis=2)
        if opacity is not None:
            pixels = np.dstack([pixels, np.full(MASK.shape, opacity)])
        png_of_16_bits(path, pixels, colour_type)

    return write


def in_mode(mode):
    return lambda path: LABELS.convert("RGB").convert(mode).save(path)


def lab(path):
    profiles = [ImageCms.createProfile(name) for name in ("sRGB", "LAB")]
    turn = ImageCms.buildTransform(*profiles, "RGB", "LAB")
    ImageCms.applyTransform(LABELS.convert("RGB"), turn).save(path)


MASKS = {
    "grey at 16 bits.png": deep(0, 1),
    "grey and alpha at 16 bits.png": deep(4, 1, opacity=65535),
    "transparent at 16 bits.png": deep(4, 1, opacity=0),
    "colour at 16 bits.png": deep(2, 3),
    "colour and alpha at 16 bits.png": deep(6, 3, opacity=65535),
    "cmyk.tif": in_mode("CMYK"),
    "ycbcr.tif": in_mode("YCbCr"),
    "colour.png": in_mode("RGB"),
    "palette.png": in_mode("P"),
    "lab.tif": lab,
    "two values.png": lambda path: LABELS.convert("1").save(path),
    "fractions.tif": lambda path: Image.fromarray(MASK.astype(np.float32)).save(path),
}


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_is_the_same_in_every_mode(tmp_path, name):
    MASKS[name](tmp_path / name)
    np.testing.assert_array_equal(read_mask(tmp_path / name, (16, 12)), MASK)


def nan(path):
    Image.fromarray(np.where(MASK, 1, np.nan).astype(np.float32)).save(path)


def jpeg(path):
    LABELS.save(path, format="JPEG")


@pytest.mark.parametrize(
    ("write", "name", "says"),
    [(nan, "x.tif", "NaN"), (jpeg, "x.png", "JPEG")],
)
def test_what_is_no_mask_is_named(tmp_path, write, name, says):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=f"{says}.*{name}"):
        read_mask(tmp_path / name, (16, 12))


def test_a_mask_of_a_turned_photograph_gets_a_word(tmp_path):
    LABELS.save(tmp_path / "x.png")
    with pytest.raises(ValueError, match="EXIF"):
        read_mask(tmp_path / "x.png", (12, 16))


@pytest.mark.parametrize("reader", [read_image, read_pixels, image_size])
def test_a_picture_beyond_the_limit_is_not_called_cut_short(
    tmp_path, monkeypatch, reader
):
    noise().save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match="MAX_IMAGE_PIXELS .*large.png"):
        reader(tmp_path / "large.png")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_of_16_bit_colour_is_turned_as_its_photograph_is(tmp_path, orientation):
    path = tmp_path / "mask.png"
    deep(2, 3)(path)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = path.read_bytes()
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    sized = (len(chunk) - 4).to_bytes(4, "big") + chunk
    sized += zlib.crc32(chunk).to_bytes(4, "big")
    path.write_bytes(content[:33] + sized + content[33:])
    shallow = Image.fromarray(MASK.astype(np.uint8) * 255)
    shallow.save(tmp_path / "shallow.png", exif=exif)
    size = image_size(path)
    expected = read_mask(tmp_path / "shallow.png", size)
    np.testing.assert_array_equal(read_mask(path, size), expected)
