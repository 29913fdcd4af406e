"""Every format, depth and oddity of picture files: what comes out, and what is refused."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from amiss.data import clouds, readers
from amiss.data.readers import is_picture, printable, read_image, read_mask, read_sample
from amiss.errors import UnreadableFile
from tests.data import files

Array = npt.NDArray[Any]

RGB = files.colours()
GREY = RGB[..., 0]
RGB16 = files.colours(dtype="uint16")
RGBA = files.colours(channels=4)
LOSSY_WEBP = (cv2.IMWRITE_WEBP_QUALITY, 90)


def read(content: bytes, folder: Path, name: str = "picture") -> Array:
    return read_image(files.written(folder / name, content))


def refused(content: bytes, folder: Path, name: str = "picture") -> str:
    path = files.written(folder / name, content)
    with pytest.raises(UnreadableFile) as caught:
        read_image(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and ";" in text
    return text


def over_black(image: Array) -> Array:
    """Channels before the last one, weighted by it, in integers."""
    full = int(np.iinfo(image.dtype).max)
    wide = image.astype(np.int64)
    return np.asarray((wide[..., :-1] * wide[..., -1:] + full // 2) // full, image.dtype)


def three(grey: Array) -> Array:
    return np.repeat(grey.reshape(*grey.shape[:2], 1), 3, axis=2)


# what comes out


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_lossless_colours_come_out_exactly_and_in_rgb_order(suffix: str, tmp_path: Path) -> None:
    image = read(files.encoded(RGB, suffix), tmp_path)
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    np.testing.assert_array_equal(image, RGB)


@pytest.mark.parametrize(
    ("suffix", "settings"), [(".jpg", ()), (".jpg", (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)), (".webp", LOSSY_WEBP)]
)
def test_lossy_colours_come_out_nearly_and_in_rgb_order(suffix: str, settings: tuple[int, ...], tmp_path: Path) -> None:
    bands = np.repeat(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8), 16, axis=1).repeat(32, axis=0)
    image = read(files.encoded(bands, suffix, *settings), tmp_path)
    for band, column in enumerate((8, 24, 40)):
        np.testing.assert_allclose(image[16, column], np.eye(3)[band] * 255, atol=12)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_kept_over_their_full_range(suffix: str, tmp_path: Path) -> None:
    image = read(files.encoded(RGB16, suffix), tmp_path)
    assert image.dtype == np.uint16 and (image.min(), image.max()) == (0, 65535)
    np.testing.assert_array_equal(image, RGB16)


@pytest.mark.parametrize(
    ("grey", "suffix"), [(GREY, ".png"), (GREY, ".bmp"), (GREY, ".tif"), (RGB16[..., 0], ".png"), (RGB16[..., 0], ".tif")]
)
def test_grey_comes_out_as_three_equal_channels(grey: Array, suffix: str, tmp_path: Path) -> None:
    image = read(files.encoded(grey, suffix), tmp_path)
    assert image.dtype == grey.dtype
    np.testing.assert_array_equal(image, three(grey))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg"])
def test_grey_and_colour_files_of_the_same_content_are_the_same_sample(suffix: str, tmp_path: Path) -> None:
    grey = read_sample(files.written(tmp_path / "grey", files.encoded(GREY, suffix)))
    colour = read_sample(files.written(tmp_path / "colour", files.encoded(three(GREY), suffix)))
    if suffix != ".jpg":
        assert grey == colour
    assert grey.image is not None and colour.image is not None
    np.testing.assert_allclose(grey.image.astype(int), colour.image.astype(int), atol=3)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_alpha_is_laid_over_black(suffix: str, tmp_path: Path) -> None:
    image = read(files.encoded(RGBA, suffix), tmp_path)
    np.testing.assert_array_equal(image[RGBA[..., 3] == 0], 0)
    np.testing.assert_array_equal(image, over_black(RGBA))


def test_alpha_of_a_lossy_webp_is_laid_over_black(tmp_path: Path) -> None:
    half = np.dstack(
        [np.full((32, 32, 3), 200, np.uint8), np.repeat([0, 255], 16).astype(np.uint8) * np.ones((32, 1), np.uint8)]
    )
    image = read(files.encoded(half, ".webp", *LOSSY_WEBP), tmp_path)
    assert image[:, :15].max() == 0 and image[:, 17:].min() > 190


def test_alpha_of_sixteen_bits_is_laid_over_black(tmp_path: Path) -> None:
    rgba = files.colours(dtype="uint16", channels=4)
    np.testing.assert_allclose(read(files.encoded(rgba, ".png"), tmp_path), over_black(rgba), atol=1)


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_with_alpha_is_laid_over_black(bits: int, tmp_path: Path) -> None:
    pair = files.colours(dtype=f"uint{bits}", channels=4)[..., [0, 3]]
    stored = np.ascontiguousarray(pair).astype(f">u{bits // 8}", order="C")
    content = files.png(stored.view(np.uint8).reshape(24, -1), bits=bits, colour=4, width=32)
    np.testing.assert_allclose(read(content, tmp_path), three(over_black(pair)), atol=bits // 16)


def test_a_bmp_with_an_alpha_mask_is_laid_over_black_and_one_without_is_not(tmp_path: Path) -> None:
    body = RGBA[::-1][..., [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    np.testing.assert_array_equal(read(files.bmp(32, 24, 32, body, compression=3, masks=masks), tmp_path), over_black(RGBA))
    np.testing.assert_array_equal(read(files.bmp(32, 24, 32, body), tmp_path), RGB)


def palette_png(before: bytes = b"") -> tuple[bytes, Array, Array]:
    index = (np.arange(24 * 32).reshape(24, 32) % 7).astype(np.uint8)
    table = np.random.default_rng(0).integers(0, 256, (7, 3), dtype=np.uint8)
    content = files.png(index, bits=8, colour=3, width=32, before=files.chunk(b"PLTE", table.tobytes()) + before)
    return content, index, table


def test_palette_png_is_looked_up(tmp_path: Path) -> None:
    content, index, table = palette_png()
    np.testing.assert_array_equal(read(content, tmp_path), table[index])


def test_transparent_palette_entries_are_laid_over_black(tmp_path: Path) -> None:
    alpha = np.array([0, 255, 128], np.uint8)  # entries without a value of their own are opaque
    content, index, table = palette_png(files.chunk(b"tRNS", alpha.tobytes()))
    full = np.concatenate([alpha, np.full(4, 255, np.uint8)])
    np.testing.assert_array_equal(read(content, tmp_path), over_black(np.dstack([table[index], full[index]])))


@pytest.mark.parametrize("colour", [0, 2])
def test_a_single_see_through_colour_is_shown_as_it_is(colour: int, tmp_path: Path) -> None:
    rows = GREY if colour == 0 else RGB.reshape(24, -1)
    key = files.chunk(b"tRNS", struct.pack(">H", 255) * (1 if colour == 0 else 3))
    image = read(files.png(rows, bits=8, colour=colour, width=32, before=key), tmp_path)
    np.testing.assert_array_equal(image, three(GREY) if colour == 0 else RGB)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_spans_the_full_range(bits: int, tmp_path: Path) -> None:
    values = (np.arange(24 * 32).reshape(24, 32) % 2**bits).astype(np.uint8)
    ones = np.unpackbits(values[..., None], axis=2)[..., 8 - bits :].reshape(24, -1)
    image = read(files.png(np.packbits(ones, axis=1), bits=bits, colour=0, width=32), tmp_path)
    np.testing.assert_array_equal(image, three(values * np.uint8(255 // (2**bits - 1))))


@pytest.mark.parametrize("rows", [1, -1])
def test_a_bmp_stands_upright_whether_stored_from_below_or_from_above(rows: int, tmp_path: Path) -> None:
    odd = files.colours(5, 7)
    content = files.bmp(7, 5 * rows, 24, files.bmp_rows(odd[::-rows]))
    np.testing.assert_array_equal(read(content, tmp_path), odd)


def test_a_bmp_with_a_palette_is_looked_up(tmp_path: Path) -> None:
    index = (np.arange(24 * 32).reshape(24, 32) % 256).astype(np.uint8)
    table = np.random.default_rng(0).integers(0, 256, (256, 4), dtype=np.uint8)
    image = read(files.bmp(32, 24, 8, index[::-1].tobytes(), palette=table.tobytes()), tmp_path)
    np.testing.assert_array_equal(image, table[index][..., 2::-1])


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif"])
def test_a_picture_of_one_pixel_is_read(suffix: str, tmp_path: Path) -> None:
    image = read(files.encoded(np.full((1, 1, 3), 200, np.uint8), suffix), tmp_path)
    np.testing.assert_allclose(image, np.full((1, 1, 3), 200), atol=2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_is_turned_upright_as_exif_says(orientation: int, tmp_path: Path) -> None:
    plain = files.encoded(RGB, ".jpg")
    image = read(files.with_app1(plain, files.exif(orientation)), tmp_path)
    np.testing.assert_array_equal(image, files.turned(read(plain, tmp_path), orientation))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_turned_upright_as_its_tag_says(orientation: int, tmp_path: Path) -> None:
    content = files.tiff([RGB.tobytes()], 32, 24, samples=3, photometric=2, orientation=orientation)
    np.testing.assert_array_equal(read(content, tmp_path), files.turned(RGB, orientation))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_inside_a_tiff_is_turned_upright(orientation: int, tmp_path: Path) -> None:
    def content(way: int) -> bytes:
        strip = files.encoded(RGB, ".jpg")
        return files.tiff([strip], 32, 24, samples=3, photometric=6, compression=7, orientation=way)

    upright = read(content(1), tmp_path)
    np.testing.assert_allclose(upright.astype(int), read(files.encoded(RGB, ".jpg"), tmp_path).astype(int), atol=2)
    np.testing.assert_array_equal(read(content(orientation), tmp_path), files.turned(upright, orientation))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_png_and_webp_are_turned_upright_with_and_without_alpha(orientation: int, tmp_path: Path) -> None:
    for image, colour, shown in ((RGB, 2, RGB), (RGBA, 6, over_black(RGBA))):
        before = files.chunk(b"eXIf", files.exif(orientation, ">"))
        png = files.png(image.reshape(24, -1), bits=8, colour=colour, width=32, before=before)
        np.testing.assert_array_equal(read(png, tmp_path), files.turned(shown, orientation))
    webp = files.webp_with_exif(files.encoded(RGB, ".webp"), (32, 24), files.exif(orientation))
    np.testing.assert_array_equal(read(webp, tmp_path), files.turned(RGB, orientation))


def test_a_mask_is_turned_like_its_picture(tmp_path: Path) -> None:
    before = files.chunk(b"eXIf", files.exif(6))
    path = files.written(tmp_path / "mask.png", files.png(GREY, bits=8, colour=0, width=32, before=before))
    np.testing.assert_array_equal(read_mask(path), files.turned(GREY != 0, 6))


# names and places


@pytest.mark.parametrize("name", ["with space.png", "größe ß 部品.png", "semi;colon,'quote\".png", "-dash.png", "no suffix"])
def test_names_of_any_kind_are_read(name: str, tmp_path: Path) -> None:
    path = files.written(tmp_path / name, files.encoded(RGB, ".png"))
    assert read_sample(path).id == str(path)


def test_a_name_that_is_not_utf8_is_read_and_printed(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    sample = read_sample(files.written(path, files.encoded(RGB, ".png")))
    assert sample.image is not None and sample.image.shape == RGB.shape
    assert printable(path).endswith("caf\\xe9.png")
    path.write_bytes(b"no picture")
    with pytest.raises(UnreadableFile) as caught:
        read_image(path)
    assert "caf\\xe9.png" in str(caught.value)
    str(caught.value).encode("utf-8")


def test_the_format_is_told_by_the_content_not_by_the_suffix(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(files.encoded(RGB, ".png"), tmp_path, "really.png.jpg"), RGB)


def test_sample_takes_the_given_id_and_part(tmp_path: Path) -> None:
    path = files.written(tmp_path / "a.png", files.encoded(RGB, ".png"))
    sample = read_sample(path, id="7", part="screw")
    assert (sample.id, sample.part) == ("7", "screw")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("a.png", True), ("a.PNG", True), ("a.JPeG", True), ("a.tiff", True), (".a.png", False), ("a.gif", False), ("png", False)],
)
def test_pictures_are_known_by_suffix_and_not_hidden(name: str, wanted: bool) -> None:
    assert is_picture(Path(name)) is wanted


# what is refused


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"gone\.png: No such file.*; give"):
        read_image(tmp_path / "gone.png")


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UnreadableFile, match=r"link\.png: No such file"):
        read_image(tmp_path / "link.png")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UnreadableFile, match=r"folder\.png: it is a folder; give the path of a picture"):
        read_image(tmp_path / "folder.png")


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UnreadableFile, match="no ordinary file"):
        read_image(tmp_path / "pipe.png")


def test_a_name_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(UnreadableFile, match="null"):
        read_image("a\0.png")


def test_a_file_of_over_two_gigabytes_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = files.written(tmp_path / "large.png", b"")
    os.truncate(path, clouds.MAX_BYTES + 1)  # sparse: takes no room
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("the file was read"))
    with pytest.raises(UnreadableFile, match=r"2\.0 GB; the largest file read is 2 GB; reduce"):
        read_image(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    assert "empty" in refused(b"", tmp_path)


def test_a_text_file_named_png_is_refused(tmp_path: Path) -> None:
    assert "not a PNG, JPEG, TIFF, BMP or WebP picture" in refused(b"this is text\n", tmp_path, "text.png")


# masks


def test_a_mask_marks_whatever_is_not_zero_in_any_channel(tmp_path: Path) -> None:
    mask = np.zeros((24, 32, 3), np.uint8)
    mask[3, 4, 0], mask[5, 6, 2], mask[7, 8] = 1, 255, (0, 9, 0)
    marked = read_mask(files.written(tmp_path / "mask.png", files.encoded(mask, ".png")))
    assert marked.dtype == np.bool_ and marked.shape == (24, 32)
    assert list(zip(*np.nonzero(marked), strict=True)) == [(3, 4), (5, 6), (7, 8)]


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_of_zeros_and_ones_counts_like_one_of_zeros_and_255(value: int, tmp_path: Path) -> None:
    mask = (GREY > 99) * np.uint8(value)
    np.testing.assert_array_equal(read_mask(files.written(tmp_path / "m.png", files.encoded(mask, ".png"))), GREY > 99)


@pytest.mark.parametrize(
    ("suffix", "settings"), [(".jpg", (cv2.IMWRITE_JPEG_QUALITY, 60)), (".webp", (cv2.IMWRITE_WEBP_QUALITY, 20))]
)
def test_a_lossy_mask_is_cut_at_half_so_that_its_ringing_marks_nothing(suffix: str, settings: Any, tmp_path: Path) -> None:
    y, x = np.mgrid[:64, :64]
    mask = (np.hypot(y - 31, x - 33) < 17.3) * np.uint8(255)
    image = three(mask) if suffix == ".webp" else mask
    path = files.written(tmp_path / ("mask" + suffix), files.encoded(image, suffix, *settings))
    assert np.count_nonzero(read_image(path)[..., 0]) > 1.1 * np.count_nonzero(mask)
    assert np.count_nonzero(read_mask(path) != (mask > 0)) < 0.02 * np.count_nonzero(mask)


@pytest.mark.parametrize("kind", ["u4", "i4", "f4", "u2"])
def test_a_mask_may_be_of_any_type(kind: str, tmp_path: Path) -> None:
    labels = np.zeros((24, 32), kind)
    labels[2, 3] = 7
    form = {"u": 1, "i": 2, "f": 3}[kind[0]]
    content = files.tiff([labels.tobytes()], 32, 24, bits=8 * int(kind[1]), sampleformat=form)
    assert list(zip(*np.nonzero(read_mask(files.written(tmp_path / "m.tif", content))), strict=True)) == [(2, 3)]


def test_a_mask_with_nan_is_refused(tmp_path: Path) -> None:
    content = files.tiff([np.full((2, 2), np.nan, "f4").tobytes()], 2, 2, bits=32, sampleformat=3)
    with pytest.raises(UnreadableFile, match=r"m\.tif: the mask holds NaN or infinity; save"):
        read_mask(files.written(tmp_path / "m.tif", content))


# floats


def float_tiff(values: Array) -> bytes:
    return files.tiff([values.tobytes()], values.shape[1], values.shape[0], bits=values.dtype.itemsize * 8, sampleformat=3)


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
def test_a_float_tiff_in_0_to_1_comes_out_as_float32(kind: str, tmp_path: Path) -> None:
    values = np.linspace(0, 1, 24 * 32).reshape(24, 32).astype(kind)
    image = read(float_tiff(values), tmp_path)
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, three(values.astype(np.float32)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("look", [read_image, read_sample], ids=["image", "sample"])
def test_a_float_tiff_with_nan_or_infinity_is_refused(value: float, look: Callable[[Path], Any], tmp_path: Path) -> None:
    values = np.full((4, 4), 0.5)
    values[1, 2] = value
    path = files.written(tmp_path / "holes.tif", float_tiff(values))
    with pytest.raises(UnreadableFile, match=r"holes\.tif: it holds NaN or infinity; replace or mask"):
        look(path)


@pytest.mark.parametrize(("value", "met"), [(255.0, "from 0.5 to 255"), (-0.25, "from -0.25 to 0.5")])
def test_a_float_tiff_outside_0_to_1_is_refused_with_what_to_do(value: float, met: str, tmp_path: Path) -> None:
    values = np.full((4, 4), 0.5, np.float32)
    values[1, 2] = value
    text = refused(float_tiff(values), tmp_path)
    assert met in text and "wanted 0 to 1; scale all pictures by the same factor" in text


@pytest.mark.parametrize(("kind", "form"), [("i1", 2), ("i2", 2), ("u4", 1), ("i4", 2)])
def test_integers_that_no_camera_writes_are_refused(kind: str, form: int, tmp_path: Path) -> None:
    values = np.ones((4, 4), kind)
    text = refused(files.tiff([values.tobytes()], 4, 4, bits=values.itemsize * 8, sampleformat=form), tmp_path)
    assert f"{values.dtype} values" in text and "save it as 8 or 16 bits" in text


# masks with soft borders, codes, JSON


def test_a_soft_mask_is_marked_above_the_share_that_is_asked_for(tmp_path: Path) -> None:
    steps = np.array([[0, 1, 127, 128, 255]], np.uint8)
    path = files.written(tmp_path / "m.png", files.encoded(steps, ".png"))
    assert readers.read_mask(path).tolist() == [[False, True, True, True, True]]
    assert readers.read_mask(path, above=0.5).tolist() == [[False, False, False, True, True]]
    deep = files.written(tmp_path / "d.png", files.encoded(steps.astype(np.uint16) * 257, ".png"))
    assert readers.read_mask(deep, above=0.5).tolist() == [[False, False, False, True, True]]


def test_codes_are_read_as_they_are_stored_and_never_from_a_lossy_file(tmp_path: Path) -> None:
    codes = np.array([[0, 3, 254]], np.uint8)
    path = files.written(tmp_path / "c.png", files.encoded(codes, ".png"))
    assert readers.read_codes(path).tolist() == [[0, 3, 254]]
    lossy = files.written(tmp_path / "c.jpg", files.encoded(codes, ".jpg"))
    with pytest.raises(UnreadableFile, match="its values cannot be codes"):
        readers.read_codes(lossy)


@pytest.mark.parametrize(
    ("content", "words"), [(b"{", "it is no JSON"), (b"\xff\xfe", "it is no JSON"), (None, "No such file")]
)
def test_a_file_that_is_no_json_is_named(content: bytes | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=rf"a\.json: {words}"):
        readers.read_json(path)


def test_json_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    assert readers.read_json(files.written(tmp_path / "a.json", b"\xef\xbb\xbf[1]")) == [1]
