"""Public examples that are private ones, and those that only look alike."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import interpolate

from gradaudit.data.modalities import ImageHandling, TableHandling, TextHandling
from gradaudit.data.modalities.images import SAME, _alike, _sketches
from gradaudit.data.sources import Npz, Tables, Texts
from gradaudit.values.types import Batch, Modality


def saved_again(picture, quality):
    """`[C, H, W]`, through a JPEG file."""
    pixels = picture.mul(255).round().byte().permute(1, 2, 0).squeeze(-1).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file))).reshape(*picture.shape[1:], -1).permute(2, 0, 1) / 255


def resized(picture, share):
    small = interpolate(picture[None], scale_factor=share, mode="bilinear", antialias=True)
    return interpolate(small, size=picture.shape[1:], mode="bilinear")[0].clamp(0, 1)


CHANGES = {
    "none": lambda picture: picture,
    "JPEG 95": lambda picture: saved_again(picture, 95),
    "JPEG 50": lambda picture: saved_again(picture, 50),
    "5 % brighter": lambda picture: (picture * 1.05).clamp(0, 1),
    "5 % darker": lambda picture: picture * 0.95,
    "a step of 0.05": lambda picture: (picture + 0.05).clamp(0, 1),
    "three quarters of the size": lambda picture: resized(picture, 0.75),
}


def smooth(count, channels=3, side=32, seed=0):
    """Pictures of blobs: as much alike as photographs are."""
    noise = torch.rand(count, channels, 6, 6, generator=torch.Generator().manual_seed(seed))
    return interpolate(noise, size=(side, side), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("change", list(CHANGES))
@pytest.mark.parametrize(("channels", "side"), [(3, 32), (1, 28), (3, 64), (1, 8)])
def test_a_picture_is_found_after_small_changes(change, channels, side):
    private, public = smooth(4, channels, side), smooth(60, channels, side, seed=1)
    public[17] = CHANGES[change](private[2])
    found = ImageHandling().duplicates(public, Batch(private, torch.arange(4)))
    assert found.nonzero().flatten().tolist() == [17]
    assert found.dtype == torch.bool


def test_black_and_grey_pictures_equal_only_their_like():
    levels = torch.tensor([0.0, 0.2, 0.5])[:, None, None, None].expand(3, 1, 8, 8).contiguous()
    private = levels[:2]
    assert ImageHandling().duplicates(levels, Batch(private, torch.arange(2))).tolist() == [True, True, False]
    assert not ImageHandling().duplicates(smooth(9, 1, 8), Batch(private, torch.arange(2))).any()


def test_one_public_picture_is_enough():
    private = smooth(2)
    batch = Batch(private, torch.arange(2))
    assert ImageHandling().duplicates(private[1:], batch).tolist() == [True]
    assert ImageHandling().duplicates(smooth(1, seed=3), batch).tolist() == [False]


RATES = [("cifar10", 1), ("cifar100", 1), ("fashion_mnist", 1), ("mnist", 1)]


@pytest.mark.parametrize(("name", "most"), RATES)
def test_false_alarms_and_misses_on_real_pictures(shared_data, name, most):
    """Of 1 000 training pictures beside 100 test pictures; docs/threat-model.md has the figures of larger samples."""
    public = Npz(shared_data / f"{name}_train.npz").open().stack(range(1000))
    private = Npz(shared_data / f"{name}_test.npz").open().stack(range(100))
    batch = Batch(private, torch.zeros(100, dtype=torch.int64))
    assert ImageHandling().duplicates(public, batch).sum() <= most
    for change in set(CHANGES) - {"three quarters of the size"}:
        public[:100] = torch.stack([CHANGES[change](picture) for picture in private])
        assert ImageHandling().duplicates(public, batch)[:100].all(), change


def texts(tmp_path, *lines):
    (tmp_path / "t.txt").write_text("\n".join(lines) + "\n")
    return Texts(tmp_path / "t.txt").open()


def test_a_text_is_found_by_its_tokens(tmp_path):
    ten = "one two three four five six seven eight nine ten"
    source = texts(tmp_path, "red fish", ten, "Red FISH", "fish red", "red", ten.replace("ten", "tin"), f"{ten} eleven")
    handling = TextHandling(source.vocabulary)
    batch = handling.gather(source, [0, 1], torch.arange(2))
    public, _ = source.stack(range(7))
    assert handling.duplicates(public, batch).tolist() == [True, True, True, True, False, False, True]
    assert handling.duplicates(public[4:6], batch).tolist() == [False, False]


def test_padding_and_markers_do_not_make_texts_alike(tmp_path):
    source = texts(tmp_path, "a", "b c d e f g h i j")
    batch = TextHandling(source.vocabulary).gather(source, [0], torch.arange(1))
    assert TextHandling().duplicates(torch.zeros(2, 30, dtype=torch.int64), batch).tolist() == [False, False]
    plain = Batch(torch.tensor([[5, 6, 0, 0]]), torch.zeros(1), Modality.TEXT, torch.tensor([2]))
    assert TextHandling().duplicates(torch.tensor([[6, 5, 0], [6, 7, 0]]), plain).tolist() == [True, False]


def test_false_alarms_on_real_texts(shared_data):
    source = Texts(shared_data / "rotten_tomatoes.tsv").open()
    handling = TextHandling(source.vocabulary)
    batch = handling.gather(source, list(range(1000, 1030)), torch.zeros(30))
    public, _ = source.stack(range(1000))
    assert not handling.duplicates(public, batch).any()


def test_a_row_is_found_when_its_numbers_are_rounded():
    source = Tables().open()
    batch = TableHandling().gather(source, [3, 4], torch.arange(2))
    public = source.rows[:8].clone()
    number = source.layout.slices[0].start
    public[3, number] += 0.009
    public[4, number] += 0.011
    assert TableHandling().duplicates(public, batch).nonzero().flatten().tolist() == [3]
    category = source.layout.slices[1]
    public[3, category] = public[3, category].roll(1)
    assert not TableHandling().duplicates(public, batch).any()


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**31))
def test_every_private_example_is_its_own_duplicate(public, private, seed):
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.rand(public + private, 1, 4, 4, generator=generator)
    batch = Batch(pictures[public:], torch.zeros(private))
    found = ImageHandling().duplicates(pictures, batch)
    assert found.shape == (public + private,)
    assert found[public:].all()


def test_plain_and_faint_pictures():
    """A contrast of a hundredth is enough to tell a picture by its shape, and less is compared by its values."""
    ramp = torch.linspace(-1, 1, 64).view(1, 1, 8, 8)
    faint, fainter = 0.5 + 0.02 * ramp, 0.5 + 0.005 * ramp
    batch = Batch(torch.cat([faint, fainter]), torch.arange(2))
    brighter = ImageHandling().duplicates(torch.cat([faint + 0.1, fainter + 0.1]), batch)
    assert brighter.tolist() == [True, False]
    half = torch.full((1, 1, 8, 8), 0.5)
    half[..., :4, :] += 0.1  # half of its pixels equal their mean after centring? none: it shows something
    assert ImageHandling().duplicates(half * 0.9, Batch(half, torch.tensor([0]))).tolist() == [True]


def test_how_much_alike_the_same_picture_must_be():
    """As near as all but three in a million pairs of public pictures, between 0.90 and 0.995."""
    apart = torch.eye(3, dtype=torch.float64)
    assert _alike(apart) == SAME[0]
    twins = torch.stack([apart[0], apart[0], apart[1]])
    assert _alike(twins) == SAME[1] == 0.995
    angle = torch.tensor(0.3, dtype=torch.float64)
    near = torch.stack([apart[0], apart[0] * angle.cos() + apart[1] * angle.sin()])
    assert _alike(near) == pytest.approx(float(angle.cos()))
    generator = torch.Generator().manual_seed(0)
    many = torch.nn.functional.normalize(torch.randn(600, 3, generator=generator, dtype=torch.float64), dim=1)
    pairs = (many @ many.T).triu(1).flatten().sort(descending=True).values
    assert int(3e-6 * 600 * 599 / 2) == 0
    assert _alike(many) == min(max(float(pairs[0]), 0.9), 0.995)


def test_small_versions_have_sixteen_pixels_or_fewer():
    assert _sketches(torch.rand(2, 1, 40, 8)).shape == (2, 16 * 8)


def directions(count, side=16, seed=5):
    """Rows of mean 0, length 1 and no correlation between them: `[count, side * side]`."""
    noise = torch.randn(count, side * side, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ones = torch.ones(1, side * side, dtype=torch.float64)
    return torch.linalg.qr(torch.cat([ones, noise]).T).Q.T[1:]


def drawn(rows, side=16):
    """Pictures `[N, 1, side, side]` in [0, 1] of such rows."""
    return (0.5 + 1.5 * rows).view(-1, 1, side, side).float()


def towards(first, second, correlation):
    return correlation * first + (1 - correlation**2) ** 0.5 * second


@pytest.mark.parametrize(
    ("pairs", "crowd", "correlation", "same"),
    [
        ((0.9999, 0.5), 0, 0.997, True),  # so few pictures that none of their pairs counts as chance; 0.995 is enough
        ((0.9999, 0.5), 0, 0.993, False),
        ((0.97, 0.93), 0, 0.95, False),
        ((0.97, 0.93), 0, 0.98, True),
        ((0.97, 0.93), 814, 0.95, True),  # 334153 pairs: one may be nearer
        ((0.97, 0.93), 1151, 0.95, True),  # 666435 pairs: still one, not quite two
        ((0.97, 0.93), 1151, 0.915, False),
    ],
)
def test_public_pictures_tell_how_near_the_same_picture_lies(pairs, crowd, correlation, same):
    """Three in a million pairs of public pictures may be nearer to each other than a copy is to its original."""
    one, two, three, four, five = directions(5)
    noise = torch.randn(crowd, 256, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    rows = torch.stack([one, towards(one, two, pairs[0]), three, towards(three, four, pairs[1])])
    public = torch.cat([drawn(rows), drawn(noise / 16).clamp(0, 1)])
    private = drawn(towards(three, five, correlation)[None])
    assert ImageHandling().duplicates(public, Batch(private, torch.zeros(1)))[2] == same


@pytest.mark.parametrize(("contrast", "same"), [(0.3, True), (0.03, True), (0.004, False)])
def test_a_faint_picture_is_one_as_well(contrast, same):
    """Brightened, it is found by its shape, down to one hundredth of contrast; below that its values decide."""
    levels = torch.tensor([-1.0, 0.0, 1.0, 0.0]).repeat(4, 1)[None, None]  # some pixels lie exactly at the mean
    private = 0.5 + contrast * levels
    batch = Batch(torch.cat([private, smooth(1, 1, 4, seed=9)]), torch.zeros(2))
    public = torch.cat([private + 0.125, smooth(2, 1, 4)])
    assert ImageHandling().duplicates(public, batch).tolist() == [same, False, False]
    assert ImageHandling().duplicates(private, batch).tolist() == [True]


def test_a_large_picture_is_found_under_fine_noise():
    private = smooth(1, side=64)
    noise = 0.4 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    assert ImageHandling().duplicates((private + noise).clamp(0, 1), Batch(private, torch.zeros(1))).tolist() == [True]
