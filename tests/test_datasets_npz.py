from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradaudit.data.sources import Npz
from gradaudit.values.errors import AuditError

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
    "no array named images; it contains labels, pixels": {"pixels": IMAGES, "labels": np.arange(5)},
    "images .* is int64; it must be uint8": {"images": IMAGES.astype(np.int64)},
    "images .* from 0 to 255; it must lie in": {"images": IMAGES.astype(np.float32)},
    "images .* from nan to nan": {"images": np.full((2, 3, 5), np.nan)},
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
    "labels .* run up to 18446744073709551615, which is not a class": {
        "images": IMAGES,
        "labels": np.array([2**64 - 1] * 5, dtype=np.uint64),
    },
    "labels .* is bool": {"images": IMAGES, "labels": np.zeros(5, dtype=bool)},
    "images .* is bool; it must be uint8": {"images": IMAGES > 9},
    "images .* is uint16; .* divide it by the largest": {"images": IMAGES.astype(np.uint16)},
    r"shape \[\]": {"images": np.uint8(3)},
    r"shape \[5, 3, 6, 8\].* images.transpose\(0, 2, 3, 1\)": {"images": IMAGES.transpose(0, 3, 1, 2)},
    r"shape \[6, 8, 3\], which looks like one image; write images\[None\]": {"images": IMAGES[0]},
    r"class_names .* is int64 \[2\]; it must be text": {"images": IMAGES, "class_names": np.arange(2)},
    "every pixel of every image is 0.0313725": {"images": np.full_like(IMAGES, 8)},
    "no pixel is brighter than 0.0039 .* Multiply them by 255": {"images": IMAGES // 128},
    "divided by 255 twice. Multiply": {"images": IMAGES / 255**2},
    "they look like 12-bit data": {"images": (IMAGES.astype(float) * 16 + 7) / 65535},
    "images .* is .*'a', 'u1'.*; it must be uint8": {"images": np.zeros((2, 2, 2), dtype=[("a", "u1")])},
    "pickled objects": {"images": np.array([IMAGES, None], dtype=object)},
}


@pytest.mark.parametrize("message", list(BAD))
def test_bad_arrays(tmp_path, message):
    with pytest.raises(AuditError, match=message) as caught:
        Npz(archive(tmp_path, **dict(sorted(BAD[message].items())))).open()
    assert "\n" not in str(caught.value)


PIXELS = {
    "one dark picture in a dark set": np.where(np.arange(5)[:, None, None, None] == 3, IMAGES // 100, 0).astype(
        np.uint8
    ),
    "a dark set of 8 bits": (IMAGES // 20).astype(np.uint8),
    "the same divided by 255": IMAGES // 20 / 255,
    "dark floats of no depth": IMAGES / 255 / 20 + 1e-5,
    "16 bits over their range": (IMAGES.astype(float) * 257) / 65535,
    "big-endian": (IMAGES / 255).astype(">f4"),
    "columns first": np.asfortranarray(IMAGES),
    "one of two values": np.where(IMAGES > 128, 255, 0).astype(np.uint8),
}


@pytest.mark.parametrize("pixels", list(PIXELS))
def test_pixels_that_are_what_they_seem(tmp_path, pixels):
    source = Npz(archive(tmp_path, images=PIXELS[pixels])).open()
    wanted = PIXELS[pixels] / (255 if PIXELS[pixels].dtype == np.uint8 else 1)
    np.testing.assert_allclose(source.stack(range(5)).permute(0, 2, 3, 1), wanted, atol=1e-6)


def test_names_and_classes_are_shown_printable(tmp_path):
    path = archive(tmp_path, images=IMAGES, names=[*"abcd", "\x1b[2Je"], class_names=np.array([b"cat", b"d\xff"]))
    source = Npz(path).open()
    assert source.picture_names[4] == r"\x1b[2Je"
    assert source.class_names == ("cat", r"d\xff")


def member(path, shape, dtype="|u1", body=b"", name="images.npy", compress=zipfile.ZIP_STORED):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "a", compress) as file:
        file.writestr(name, header.getvalue() + body)
    return path


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((10**6, 1000, 1000, 3), "|u1"), ((4, 4, -16), "|u1"), ((2**62, 8), "|u1"), ((16,), "<U1000000"), ((), "<f8")],
)
def test_a_header_that_claims_other_bytes_than_follow(tmp_path, shape, dtype):
    path = member(tmp_path / "a.npz", shape, dtype, bytes(16))
    with pytest.raises(AuditError, match=r"images.npy in .*a.npz is damaged: its header claims .* but 16 follow"):
        Npz(path).open()


def test_an_array_with_named_fields(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("images.npy", b"\x93NUMPY\x03\x00" + bytes(99))
    with pytest.raises(AuditError, match=r"images.npy in .*a.npz is no plain array"):
        Npz(tmp_path / "a.npz").open()


def test_more_than_the_machine_holds_is_refused_unread(tmp_path, monkeypatch):
    path = member(tmp_path / "a.npz", (10, 1000, 1000), body=bytes(10**7), compress=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr("gradaudit.values.memory.memory_here", lambda: 9_000_000)
    monkeypatch.setattr("numpy.lib.format.read_array", None)
    with pytest.raises(AuditError, match=r"a.npz would need 10 MB of memory, and there are 9 MB. Write a part"):
        Npz(path).open()


def test_an_encrypted_archive(tmp_path):
    path = member(tmp_path / "a.npz", (16,), body=bytes(16))
    data = bytearray(path.read_bytes())
    for place in (data.index(b"PK\x03\x04") + 6, data.index(b"PK\x01\x02") + 8):
        data[place] |= 1
    path.write_bytes(data)
    with pytest.raises(AuditError, match="is damaged, or encrypted"):
        Npz(path).open()


@given(st.data())
def test_any_bytes_are_read_or_refused(data):
    buffer = io.BytesIO()
    np.savez(buffer, images=IMAGES[:2, :2, :2], labels=np.arange(2))
    content = bytearray(buffer.getvalue())
    for place, byte in data.draw(st.dictionaries(st.integers(0, len(content) - 1), st.integers(0, 255))).items():
        content[place] = byte
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.npz")
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
        try:
            assert Npz(path).open().shape
        except AuditError as error:
            assert str(error).startswith("npz: ")  # noqa: PT017


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
