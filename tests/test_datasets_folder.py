from __future__ import annotations

import json
import os
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gradaudit.data.sources import Folder
from gradaudit.values.errors import AuditError


def save(path, height=6, width=6, mode="RGB", seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    image.save(path)
    return np.array(image)


def test_flat_folder(tmp_path):
    second, first = save(tmp_path / "b.png", seed=1), save(tmp_path / "a.bmp", seed=2)
    (tmp_path / "notes.txt").write_text("no picture")
    save(tmp_path / ".hidden.png", 9, 9)
    source = Folder(tmp_path).open()
    assert source.picture_names == ("a.bmp", "b.png")
    assert source.labels is None
    assert source.shape == (3, 6, 6)
    np.testing.assert_array_equal(source.pictures[0].permute(1, 2, 0).mul(255).round().numpy(), first)
    np.testing.assert_array_equal(source.pictures[1].permute(1, 2, 0).mul(255).round().numpy(), second)
    assert source.mean_except([0]).equal(source.pictures[1])


def test_class_folders(tmp_path):
    for i, name in enumerate(["zebra/b.png", "ant/2.png", "ant/1.png", "zebra/deeper/a.PNG"]):
        save(tmp_path / name, seed=i)
    (tmp_path / "empty").mkdir()
    source = Folder(tmp_path).open()
    assert source.class_names == ("ant", "empty", "zebra")
    assert source.labels.tolist() == [0, 0, 2, 2]
    assert source.labels.dtype == torch.int64
    assert source.picture_names == ("ant/1.png", "ant/2.png", "zebra/b.png", "zebra/deeper/a.PNG")


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "webp", "gif", "tif", "tiff", "JPG"])
def test_every_format(tmp_path, suffix):
    save(tmp_path / f"a.{suffix}")
    assert Folder(tmp_path).open().pictures[0].shape == (3, 6, 6)


@pytest.mark.parametrize(
    ("modes", "channels"),
    [(["L", "L"], 1), (["L", "1"], 1), (["L", "RGB"], 3), (["LA", "L"], 3), (["RGBA", "P"], 3)],
)
def test_channels(tmp_path, modes, channels):
    for i, mode in enumerate(modes):
        save(tmp_path / f"{i}.png", mode=mode)
    source = Folder(tmp_path).open()
    assert {picture.shape for picture in (source.pictures[0], source.pictures[1])} == {(channels, 6, 6)}


def test_transparent_palette_is_read_without_a_warning(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.save(tmp_path / "a.png", transparency=b"\x00\x80")
    assert Folder(tmp_path).open().pictures[0][:, 0, 0].tolist() == [1.0, 0.0, 0.0]


def test_size_makes_shapes_equal(tmp_path):
    save(tmp_path / "a.png", 10, 20)
    save(tmp_path / "b.png", 33, 7)
    source = Folder(tmp_path, size=8).open()
    assert source.stack([0, 1]).shape == (2, 3, 8, 8)


def test_different_shapes_without_size(tmp_path):
    save(tmp_path / "a.png", 6, 8)
    save(tmp_path / "b.png", 6, 9)
    with pytest.raises(AuditError, match=r"a.png is 8 x 6 pixels but .*b.png is 9 x 6; .*size:"):
        Folder(tmp_path).open()


def test_missing_folder(tmp_path):
    with pytest.raises(AuditError, match=r"folder: no folder at .*gone \(paths are relative to the audit file\)"):
        Folder(tmp_path / "gone").open()


def test_folder_without_pictures(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(AuditError, match="no images in"):
        Folder(tmp_path).open()


def test_both_layouts_at_once(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "cats" / "b.png")
    with pytest.raises(AuditError, match=r"both images \(a.png\) and class folders \(cats\)"):
        Folder(tmp_path).open()


def test_no_picture_at_all_behind_the_name(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"not a picture")
    with pytest.raises(AuditError, match=r"cannot read the image .*b.png"):
        Folder(tmp_path).open()


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_picture(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    save(path, 64, 64)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(AuditError, match=rf"cannot read the image .*a.{suffix}"):
        _ = Folder(tmp_path).open().pictures[0]


def test_deep_pixels_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 4000, dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(AuditError, match=r"a.png has 16 bits per value; convert it to 8 bits"):
        Folder(tmp_path).open()


def colour_of_16_bits(path):
    """A PNG that Pillow opens as plain RGB: three values of two bytes in each of four pixels."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + struct.pack(">6H", *(range(row * 6000, row * 6000 + 6))) for row in range(2))
    head = chunk(b"IHDR", struct.pack(">2I5B", 2, 2, 16, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def test_colour_of_16_bits_is_refused_though_its_mode_is_rgb(tmp_path):
    colour_of_16_bits(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGB"
    with pytest.raises(AuditError, match=r"a.png has 16 bits per value; convert it to 8 bits"):
        Folder(tmp_path).open()


@pytest.mark.parametrize(("dtype", "found"), [(np.uint16, "16 bits"), (np.float32, "32 bits"), (np.int32, "32 bits")])
def test_deep_tiffs_are_refused(tmp_path, dtype, found):
    Image.fromarray(np.arange(16, dtype=dtype).reshape(4, 4)).save(tmp_path / "a.tif")
    with pytest.raises(AuditError, match=rf"a.tif has {found} per value"):
        Folder(tmp_path).open()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "UnidentifiedImageError"),
        (lambda path: path.symlink_to(path), "not a file but a broken link, a loop of links or a device"),
        (lambda path: path.symlink_to("gone"), "not a file but a broken link"),
        (os.mkfifo, "not a file but a broken link, a loop of links or a device"),
        (lambda path: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "UnidentifiedImageError"),
    ],
)
def test_what_has_only_the_name_of_a_picture(tmp_path, make, message):
    save(tmp_path / "a.png")
    make(tmp_path / "b.png")
    with pytest.raises(AuditError, match=rf"b.png.*{message}"):
        Folder(tmp_path).open()


def test_a_folder_with_the_name_of_a_picture_is_a_class(tmp_path):
    save(tmp_path / "x.png" / "a.png")
    assert Folder(tmp_path).open().class_names == ("x.png",)


def test_hidden_folders_are_left_out_at_any_depth(tmp_path):
    save(tmp_path / "cats" / "a.png")
    save(tmp_path / "cats" / ".checkpoints" / "a.png")
    assert Folder(tmp_path).open().picture_names == ("cats/a.png",)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_picture_of_absurd_size_is_refused_by_its_header(tmp_path, monkeypatch, factor):
    save(tmp_path / "a.png", 10, 10)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99 // factor)
    with pytest.raises(AuditError, match=r"the image .*a.png has more than \d+ pixels; make it smaller"):
        Folder(tmp_path).open()


def test_names_are_shown_printable(tmp_path):
    save(tmp_path / "c\x1b[2J" / "a\nb.png")
    save(tmp_path / "c\x1b[2J" / os.fsdecode(b"b\xff.png"))
    source = Folder(tmp_path).open()
    assert source.class_names == (r"c\x1b[2J",)
    assert source.picture_names == (r"c\x1b[2J/a b.png", r"c\x1b[2J/b\udcff.png")
    json.dumps(source.picture_names).encode()


@pytest.mark.parametrize(
    ("top", "message"),
    [(1, "no pixel is brighter than 0.0039 .* Multiply them by 255"), (0, "every pixel of every image is 0 ")],
)
def test_pictures_of_zeros_and_ones(tmp_path, top, message):
    for name in "ab":
        Image.fromarray(np.eye(4, dtype=np.uint8) * top).save(tmp_path / f"{name}.png")
    with pytest.raises(AuditError, match=rf"folder: the images in .*: {message}"):
        Folder(tmp_path).open()
    save(tmp_path / "c.png", 4, 4, "L")  # one real picture clears the folder
    assert len(Folder(tmp_path).open()) == 3


def test_colours_for_print_and_rotated_photographs_and_animations(tmp_path):
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, :2] = 200
    image = Image.fromarray(pixels)
    image.convert("CMYK").save(tmp_path / "a.tif")
    rotated = Image.Exif()
    rotated[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "b.png", exif=rotated)
    image.save(tmp_path / "c.gif", save_all=True, append_images=[Image.new("RGB", (4, 2))])
    for picture in Folder(tmp_path).open().stack(range(3)):
        np.testing.assert_allclose(picture.permute(1, 2, 0) * 255, pixels, atol=1)


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"GIF89a", b"BM", b"II*\0\x08\0\0\0"]),
)
def test_any_bytes_are_a_picture_or_refused(content, start):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "a.png").write_bytes(start + content)
        try:
            source = Folder(Path(folder), size=4).open()
            assert source.pictures[0].shape[1:] == (4, 4)
        except AuditError as error:
            assert str(error).startswith("folder: ")  # noqa: PT017


def test_impossible_size(tmp_path):
    with pytest.raises(AuditError, match="folder: size must be from 1 to 4096 pixels, got 0"):
        Folder(tmp_path, size=0).open()
    with pytest.raises(AuditError, match="folder: size must be from 1 to 4096 pixels, got 1000000000"):
        Folder(tmp_path, size=10**9).open()
