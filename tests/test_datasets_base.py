from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gradaudit.data.image_arrays import PixelArray, square
from gradaudit.data.sources import Npz, Source
from gradaudit.data.sources import _source as module

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


class OnDemand:
    """Pictures that are neither an array nor a list, like those of a folder."""

    def __init__(self, pictures):
        self.pictures = pictures
        self.read = 0

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, index):
        self.read += 1
        return self.pictures[index]


def kinds(count=7):
    pixels = torch.randint(0, 256, (count, 3, 6, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    floats = pixels.float() / 255
    return {
        "uint8": PixelArray(pixels),
        "uint8 resized": PixelArray(pixels, size=4),
        "float": PixelArray(floats),
        "channels last": PixelArray(pixels.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)),
        "list": list(floats),
        "on demand": OnDemand(floats),
    }


@pytest.fixture(params=list(kinds()))
def source(request):
    return Source("some", "words", kinds()[request.param])


@pytest.mark.parametrize("left_out", [[], [0], [3, 3, -1], [0, 1, 2, 3, 4, 5]])
def test_mean_is_the_naive_mean(source, left_out):
    rest = [i for i in range(7) if i not in {j % 7 for j in left_out}]
    naive = torch.stack([source.pictures[i] for i in rest]).double().mean(dim=0).float()
    for _ in range(2):  # the second time from the cached sum
        torch.testing.assert_close(source.mean_except(left_out), naive, rtol=0, atol=1e-6)


def test_no_mean_of_nothing(source):
    assert source.mean_except(range(7)) is None


def test_mean_refuses_pictures_that_are_not_there(source):
    with pytest.raises(IndexError):
        source.mean_except([7])


def test_mean_over_many_blocks(monkeypatch):
    monkeypatch.setattr("gradaudit.data.image_arrays.VALUES_PER_BLOCK", 300)  # two pictures
    test_mean_is_the_naive_mean(Source("some", "words", kinds()["uint8"]), [2])


def test_mean_of_many_files_reads_a_sample(monkeypatch):
    monkeypatch.setattr(module, "LAZY_LIMIT", 10)
    monkeypatch.setattr(module, "LAZY_SAMPLE", 4)
    pictures = OnDemand(torch.arange(11.0).div(11)[:, None, None, None].expand(11, 1, 2, 2))
    mean = Source("some", "words", pictures).mean_except([3, 4])
    torch.testing.assert_close(mean, torch.full((1, 2, 2), (0 + 6 + 9) / 3 / 11))  # 0, 3, 6, 9 without 3
    assert pictures.read < 8


def test_distractors_are_others_and_evenly_spaced(source):
    others = source.distractors([1, 2], 3)
    assert torch.equal(others, source.stack([0, 3, 5]))
    assert torch.equal(source.distractors([1, 2], 99), source.stack([0, 3, 4, 5, 6]))
    assert source.distractors([1], 0).shape == (0, *source.shape)


def test_pictures_are_floats_of_one_shape(source):
    pictures = source.stack(range(len(source)))
    assert pictures.dtype == torch.float32
    assert pictures.shape == (7, *source.shape)
    assert pictures.min() >= 0
    assert pictures.max() <= 1


def test_fingerprint_tells_sources_apart():
    pixels = kinds()["uint8"].pixels
    other = pixels.clone()
    other[3, 0, 0, 0] ^= 1
    labels = torch.arange(7)
    prints = {
        Source("a", "", PixelArray(pixels)).fingerprint(),
        Source("a", "", PixelArray(other)).fingerprint(),
        Source("a", "", PixelArray(pixels), labels).fingerprint(),
        Source("a", "", PixelArray(pixels), labels.flip(0)).fingerprint(),
    }
    assert len(prints) == 4
    assert Source("b", "other words", kinds()["list"]).fingerprint() in prints


def test_fingerprint_reads_at_most_a_thousand():
    pictures = OnDemand(torch.zeros(1999, 1, 1, 1))
    Source("some", "", pictures).fingerprint()
    assert pictures.read <= 1001  # and one for the shape


def test_square_takes_the_centre():
    picture = torch.zeros(1, 4, 8)
    picture[..., 2:6] = 0.5
    assert torch.equal(square(picture, 4), torch.full((1, 4, 4), 0.5))
    assert torch.equal(square(picture, 2), torch.full((1, 2, 2), 0.5))


def test_mean_of_real_pictures_is_quick_and_right():
    if not (SHARED / "cifar10_test.npz").is_file():
        pytest.skip("the shared data is not on this machine")
    source = Npz(SHARED / "cifar10_test.npz").open()
    assert source.shape == (3, 32, 32)
    with np.load(SHARED / "cifar10_test.npz") as archive:
        naive = archive["images"][8:].mean(axis=0).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(source.mean_except(range(8)).numpy(), naive, atol=1e-6)
