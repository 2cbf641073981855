from __future__ import annotations

import pickle
import struct

import numpy as np
import pytest
import torch
import torchvision.datasets
from PIL import Image
from scipy.io import savemat

from gradaudit.data.sources import SOURCES, Cifar10, Cifar100, FashionMnist, Flowers102, ImageNet, Stl10
from gradaudit.values.errors import AuditError

RANDOM = np.random.default_rng(0)
NAMES = ["cifar10", "cifar100", "fashion-mnist", "stl10", "flowers102", "imagenet"]


@pytest.fixture
def unchecked(monkeypatch):
    """torchvision compares checksums, which made-up files cannot have."""
    for name in ("cifar", "stl10", "flowers102"):
        monkeypatch.setattr(f"torchvision.datasets.{name}.check_integrity", lambda *_: True)


def dump(path, **content):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_files(tmp_path, name, split):
    with pytest.raises(AuditError, match=rf"{name}: torchvision finds no .* it expects there .*; gradaudit never down"):
        SOURCES[name](tmp_path, split).open()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_bad_options(tmp_path, name):
    with pytest.raises(AuditError, match=rf"{name}: size must be from 1 to 4096"):
        SOURCES[name](tmp_path, size=0).open()
    with pytest.raises(AuditError, match="split must be train or test, got validation"):
        SOURCES[name](tmp_path, split="validation")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("size", [None, 16])
def test_cifar10(tmp_path, size):
    pixels = RANDOM.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    root = tmp_path / "cifar-10-batches-py"
    dump(root / "test_batch", data=pixels.reshape(4, -1), labels=[3, 1, 0, 2])
    dump(root / "batches.meta", label_names=["a", "b", "c", "d"])
    source = Cifar10(tmp_path, size=size).open()
    assert source.shape == (3, size or 32, size or 32)
    assert source.labels.tolist() == [3, 1, 0, 2]
    assert source.class_names == ("a", "b", "c", "d")
    assert source.description == "the 4 test images of CIFAR-10"
    if size is None:
        np.testing.assert_array_equal(source.stack(range(4)).mul(255).round(), pixels)


@pytest.mark.usefixtures("unchecked")
def test_damaged_cifar10(tmp_path):
    dump(tmp_path / "cifar-10-batches-py" / "batches.meta", label_names=[])
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(b"no pickle")
    with pytest.raises(AuditError, match="torchvision finds no complete cifar10"):
        Cifar10(tmp_path).open()


@pytest.mark.usefixtures("unchecked")
def test_cifar100(tmp_path):
    pixels = RANDOM.integers(0, 256, (2, 3072), dtype=np.uint8)
    dump(tmp_path / "cifar-100-python" / "train", data=pixels, fine_labels=[1, 0])
    dump(tmp_path / "cifar-100-python" / "meta", fine_label_names=["a", "b"])
    source = Cifar100(tmp_path, split="train").open()
    assert (source.shape, source.labels.tolist()) == ((3, 32, 32), [1, 0])


def write_fashion_mnist(folder, labels):
    """Three pictures in both parts, and `labels`; returns the pixels."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = RANDOM.integers(0, 256, (3, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, 3, 28, 28) + pixels.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, len(labels)) + bytes(labels))
    return pixels


def test_fashion_mnist(tmp_path):
    pixels = write_fashion_mnist(tmp_path, [9, 0, 4])
    source = FashionMnist(tmp_path).open()
    assert (source.shape, source.labels.tolist()) == ((1, 28, 28), [9, 0, 4])
    assert source.class_names[9] == "Ankle boot"
    np.testing.assert_array_equal(source.pictures[1][0].mul(255).round(), pixels[1])


def test_fashion_mnist_with_fewer_labels(tmp_path):
    write_fashion_mnist(tmp_path, [9, 0])
    with pytest.raises(AuditError, match="fashion-mnist: contains 3 images but 2 labels"):
        FashionMnist(tmp_path).open()
    (tmp_path / "FashionMNIST/raw/t10k-images-idx3-ubyte").write_bytes(b"\xff" * 16)
    with pytest.raises(AuditError, match="torchvision finds no complete fashion-mnist"):
        FashionMnist(tmp_path).open()


@pytest.mark.usefixtures("unchecked")
def test_a_set_of_black_pictures(tmp_path):
    root = tmp_path / "cifar-100-python"
    dump(root / "test", data=np.zeros((2, 3072), np.uint8), fine_labels=[1, 0])
    dump(root / "meta", fine_label_names=["a", "b"])
    with pytest.raises(AuditError, match="cifar100: the test images: every pixel of every image is 0 in"):
        Cifar100(tmp_path).open()


@pytest.mark.usefixtures("unchecked")
def test_stl10(tmp_path):
    root = tmp_path / "stl10_binary"
    root.mkdir()
    (root / "test_X.bin").write_bytes(bytes([0, 9] * (3 * 96 * 96)))
    (root / "test_y.bin").write_bytes(bytes([10, 1]))
    (root / "class_names.txt").write_text("airplane\nbird\n")
    source = Stl10(tmp_path).open()
    assert (source.shape, source.labels.tolist()) == ((3, 96, 96), [9, 0])
    assert source.class_names == ("airplane", "bird")
    assert Stl10(tmp_path, size=32).open().mean_except([]).shape == (3, 32, 32)


def photograph(path, height=30, width=50):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)


@pytest.mark.usefixtures("unchecked")
def test_flowers102(tmp_path):
    root = tmp_path / "flowers-102"
    for i in (1, 2, 3):
        photograph(root / "jpg" / f"image_{i:05d}.jpg")
    savemat(root / "imagelabels.mat", {"labels": np.array([5, 102, 1])})
    savemat(root / "setid.mat", {"tstid": np.array([3, 2]), "trnid": np.array([1]), "valid": np.array([1])})
    source = Flowers102(tmp_path, size=20).open()
    assert (source.shape, source.labels.tolist()) == ((3, 20, 20), [0, 101])
    (root / "jpg" / "image_00002.jpg").write_bytes(b"no picture")
    with pytest.raises(AuditError, match=r"flowers102: cannot read the image .*image_00002.jpg"):
        source.mean_except([])


def imagenet(root, ids):
    torch.save(({wnid: (f"{wnid} name", "synonym") for wnid in ids}, []), root / "meta.bin")


def test_imagenet(tmp_path):
    imagenet(tmp_path, ["n02", "n01"])
    photograph(tmp_path / "val" / "n02" / "a.JPEG")
    photograph(tmp_path / "val" / "n01" / "b.JPEG", 300, 240)
    source = ImageNet(tmp_path).open()
    assert (source.shape, source.labels.tolist()) == ((3, 224, 224), [0, 1])
    assert source.class_names == ("n01 name", "n02 name")
    assert source.stack([0, 1]).shape == (2, 3, 224, 224)


def test_part_of_imagenet(tmp_path):
    imagenet(tmp_path, ["n01", "n02", "n03"])
    photograph(tmp_path / "train" / "n02" / "a.JPEG")
    with pytest.raises(AuditError, match=r"contains 1 classes but meta.bin names 3; .* source: folder"):
        ImageNet(tmp_path, split="train").open()


def test_imagenet_archives_are_not_unpacked(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("an archive was unpacked")

    monkeypatch.setattr(torchvision.datasets.imagenet, "extract_archive", refuse)
    imagenet(tmp_path, ["n01"])
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(b"")
    with pytest.raises(AuditError, match="val/ with a sub-folder per WordNet id"):
        ImageNet(tmp_path).open()
