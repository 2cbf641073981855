from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from gradaudit.datasets import Folder
from gradaudit.errors import AuditError


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
    with pytest.raises(AuditError, match="no pictures in"):
        Folder(tmp_path).open()


def test_both_layouts_at_once(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "cats" / "b.png")
    with pytest.raises(AuditError, match=r"both pictures \(a.png\) and class folders \(cats\)"):
        Folder(tmp_path).open()


def test_no_picture_at_all_behind_the_name(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"not a picture")
    with pytest.raises(AuditError, match=r"cannot read the picture .*b.png"):
        Folder(tmp_path).open()


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_truncated_picture(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    save(path, 64, 64)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(AuditError, match=rf"cannot read the picture .*a.{suffix}"):
        _ = Folder(tmp_path).open().pictures[0]


def test_deep_pixels_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 4000, dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(AuditError, match=r"a.png has pixels of mode I;16; convert it to 8 bits"):
        Folder(tmp_path).open()


def test_impossible_size(tmp_path):
    with pytest.raises(AuditError, match="folder: size must be at least 1 pixels, got 0"):
        Folder(tmp_path, size=0).open()
