from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gradaudit.datasets import Npz
from gradaudit.errors import AuditError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)


def archive(folder, **arrays):
    np.savez(folder / "pictures.npz", **arrays)
    return folder / "pictures.npz"


def test_everything(tmp_path):
    path = archive(tmp_path, images=IMAGES, labels=np.arange(5, dtype=np.uint8), class_names=list("abcde"), other=[1])
    source = Npz(path).open()
    assert (len(source), source.shape) == (5, (3, 6, 8))
    np.testing.assert_array_equal(source.pictures[2].permute(1, 2, 0).mul(255).round(), IMAGES[2])
    assert source.labels.tolist() == [0, 1, 2, 3, 4]
    assert source.labels.dtype == torch.int64
    assert source.class_names == tuple("abcde")


def test_names_of_the_pictures(tmp_path):
    assert Npz(archive(tmp_path, images=IMAGES, names=list("vwxyz"))).open().picture_names == tuple("vwxyz")
    assert Npz(archive(tmp_path, images=IMAGES, names=list("vw"))).open().picture_names == ()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats(tmp_path, dtype):
    source = Npz(archive(tmp_path, images=(IMAGES / 255).astype(dtype))).open()
    np.testing.assert_allclose(source.pictures[0].permute(1, 2, 0), IMAGES[0] / 255, atol=1e-3)
    assert source.labels is None


def test_grey_and_size(tmp_path):
    path = archive(tmp_path, images=IMAGES[..., 0])
    assert Npz(path).open().shape == (1, 6, 8)
    assert Npz(path, size=4).open().shape == (1, 4, 4)


BAD = {
    "no array named images; it holds labels, pixels": {"pixels": IMAGES, "labels": np.arange(5)},
    "images .* is int64; it must be uint8": {"images": IMAGES.astype(np.int64)},
    "images .* from 0 to 255; it must lie in": {"images": IMAGES.astype(np.float32)},
    "images .* from nan to nan": {"images": np.full((2, 3, 3), np.nan)},
    r"shape \[5, 3, 6, 8\]; it must be \[N, H, W, C\]": {"images": IMAGES.transpose(0, 3, 1, 2)},
    r"shape \[6, 8\]": {"images": IMAGES[0, :, :, 0]},
    "and not empty": {"images": IMAGES[:0]},
    "5 images but 4 labels": {"images": IMAGES, "labels": np.arange(4)},
    "labels .* is float64": {"images": IMAGES, "labels": np.zeros(5)},
    r"labels .* \[5, 1\]": {"images": IMAGES, "labels": np.zeros((5, 1), dtype=int)},
    "labels .* run from -1 to 3; they must be 0 or more": {"images": IMAGES, "labels": np.arange(5) - 1},
    "from 0 to 4; they must be 0 to 1, one per class name": {
        "images": IMAGES,
        "labels": np.arange(5),
        "class_names": ["a", "b"],
    },
    "pickled objects": {"images": np.array([IMAGES, None], dtype=object)},
}


@pytest.mark.parametrize("message", list(BAD))
def test_bad_arrays(tmp_path, message):
    with pytest.raises(AuditError, match=message) as caught:
        Npz(archive(tmp_path, **dict(sorted(BAD[message].items())))).open()
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(AuditError, match="npz: no file at"):
        Npz(tmp_path / "gone.npz").open()


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00"])
def test_not_an_archive(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(AuditError, match=r"a.npz is not an .npz file"):
        Npz(tmp_path / "a.npz").open()


def test_damaged_archive(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", images=IMAGES)
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    whole[200:260] = bytes(60)
    (tmp_path / "a.npz").write_bytes(whole)
    with pytest.raises(AuditError, match=r"a.npz is damaged"):
        Npz(tmp_path / "a.npz").open()


@pytest.mark.parametrize(("name", "shape"), [("photos_free_224.npz", (3, 224, 224)), ("mnist_test.npz", (1, 28, 28))])
def test_real_files(name, shape):
    if not (SHARED / name).is_file():
        pytest.skip("the shared data is not on this machine")
    source = Npz(SHARED / name).open()
    assert source.shape == shape
    assert 0.1 < source.mean_except([0]).mean() < 0.9
