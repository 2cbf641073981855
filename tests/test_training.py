"""Training of generators, auto-encoders and denoisers: what they learn, how they stop and go on, and the command."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gradaudit.inversion.run.keeper import Keeper
from gradaudit.models.assets import open_asset
from gradaudit.models.auto_encoders.conv_auto_encoder import ConvAutoEncoder
from gradaudit.models.auto_encoders.trained_auto_encoder import AutoEncoder
from gradaudit.models.denoising.noise_unet import NoiseUNet
from gradaudit.models.fitting import fit as fitting
from gradaudit.models.fitting.adversarial import DCGAN_RIVALRY, WGAN_GP_RIVALRY, Adversarial
from gradaudit.models.fitting.augmentation import augmented
from gradaudit.models.fitting.fit import BatchDrawing, Limit, fit
from gradaudit.models.fitting.held_out import auto_encoder_scores, decibels, denoiser_scores, nearest
from gradaudit.models.fitting.image_set import ImageSet
from gradaudit.models.fitting.regression import Regression, denoised, reconstructed
from gradaudit.models.generators.dcgan import DCGAN
from gradaudit.models.generators.trained_generator import Generator
from gradaudit.models.generators.wgan_gp import WganGp
from gradaudit.values.errors import AuditError

CPU = torch.device("cpu")
TINY = {"channels": 1, "size": 8, "latent": 4, "width": 4}
TRAINERS = {
    "dcgan": lambda: Adversarial(DCGAN(**TINY, classes=2), DCGAN_RIVALRY, CPU),
    "wgan-gp": lambda: Adversarial(WganGp(**TINY), WGAN_GP_RIVALRY, CPU),
    "auto-encoder": lambda: Regression(ConvAutoEncoder(1, 8, 4).build(), reconstructed, CPU),
    "denoiser": lambda: Regression(NoiseUNet(1, 8, 4).build(), denoised, CPU),
}


def dark_and_bright(count=200, side=8):
    """Class 0 is dark and class 1 bright, each of its own grey with a smooth slope."""
    labels = torch.arange(count) % 2
    slope = torch.linspace(-1, 1, side).view(1, 1, 1, -1) * torch.rand(count, 1, 1, 1) * 0.15
    grey = torch.where(labels == 0, 0.2, 0.8).view(-1, 1, 1, 1) + 0.05 * torch.randn(count, 1, 1, 1)
    pixels = (grey + slope).expand(-1, -1, side, -1)
    return ImageSet(pixels.clamp(0, 1).mul(255).round().byte(), labels)


def trainer(name):
    torch.manual_seed(0)
    return TRAINERS[name]()


@pytest.mark.parametrize("seed", range(3))
def test_the_critic_of_wgan_gp_starts_with_a_slope(seed):
    """The penalty asks for a slope of 1; DCGAN's small weights give 0.011, and the critic learns that first."""
    torch.manual_seed(seed)
    critic = Adversarial(WganGp(channels=1, size=28, width=32), WGAN_GP_RIVALRY, CPU).critic
    images = torch.rand(16, 1, 28, 28).mul(2).sub(1).requires_grad_()
    (slope,) = torch.autograd.grad(critic(images).sum(), images)
    assert slope.flatten(1).norm(dim=1).mean() > 0.05


def interrupting(at):
    def watch(steps, seconds, losses):
        if steps == at:
            raise KeyboardInterrupt

    return watch


@pytest.mark.parametrize("name", TRAINERS)
def test_a_training_that_is_stopped_goes_on_as_if_it_had_not_been(name, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "SNAPSHOT", -1.0)
    images, whole = dark_and_bright(20), trainer(name)
    ended = fit(whole, images, Limit(steps=8), BatchDrawing(batch=4))
    assert (ended.steps, ended.interrupted) == (8, False)

    stopped = fit(
        trainer(name),
        images,
        Limit(steps=8),
        BatchDrawing(batch=4),
        keep=Keeper(tmp_path / "a", "x"),
        watch=interrupting(5),
    )
    assert (stopped.steps, stopped.interrupted) == (5, True)
    second = trainer(name)
    torch.manual_seed(99)
    assert fit(second, images, Limit(steps=8), BatchDrawing(batch=4), keep=Keeper(tmp_path / "a", "x")).steps == 8
    assert_same(whole.state(), second.state())
    torch.manual_seed(1)
    expected = whole.result().state_dict()
    torch.manual_seed(1)
    assert_same(expected, second.result().state_dict())


def assert_same(one, other):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    else:
        assert one == other


class Counting:
    """A trainer that is interrupted in the middle of its fourth step."""

    device = CPU

    def __init__(self):
        self.halves = 0

    def step(self, pictures, labels):
        self.halves += 1
        if self.halves == 7:
            raise KeyboardInterrupt
        self.halves += 1
        return {}

    def state(self):
        return {"halves": self.halves}

    def load(self, state):
        self.halves = state["halves"]


def test_ctrl_c_in_the_middle_of_a_step_leaves_whole_steps(monkeypatch):
    monkeypatch.setattr(fitting, "SNAPSHOT", -1.0)
    counting = Counting()
    ended = fit(counting, dark_and_bright(10), Limit(steps=9), BatchDrawing(batch=2))
    assert (counting.halves, ended.steps, ended.interrupted) == (6, 3, True)


class Watching(Counting):
    """A trainer that remembers its batches."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def step(self, pictures, labels):
        self.batches.append(pictures.flatten().tolist())
        return {}


def test_every_step_sees_a_batch_of_its_own_that_depends_on_the_seed():
    watched, images = [Watching(), Watching(), Watching()], dark_and_bright(100)
    for seed, one in zip((0, 0, 1), watched, strict=True):
        fit(one, images, Limit(steps=3), BatchDrawing(batch=8, seed=seed))
    first = watched[0].batches
    assert len({tuple(batch) for batch in first}) == 3
    assert first == watched[1].batches
    assert not {tuple(batch) for batch in first} & {tuple(batch) for batch in watched[2].batches}


def test_a_training_leaves_the_random_state_of_others_alone():
    before = torch.get_rng_state()
    fit(Counting(), dark_and_bright(10), Limit(steps=2), BatchDrawing(batch=2))
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    dark_and_bright(10)
    assert torch.equal(after, torch.get_rng_state())


@pytest.mark.parametrize("seed", range(2))
def test_a_conditional_generator_learns_its_classes(seed):
    torch.manual_seed(seed)
    architecture = DCGAN(channels=1, size=8, latent=4, width=8, classes=2, last=4)
    made = Adversarial(architecture, replace(DCGAN_RIVALRY, rate=2e-3), CPU)
    fit(made, dark_and_bright(), Limit(steps=80), BatchDrawing(batch=16, seed=seed))
    network = made.result()
    with torch.no_grad():
        dark, bright = (network(torch.randn(64, 4), torch.full((64,), k)).mean() for k in (0, 1))
    assert bright - dark > 0.3


def test_an_auto_encoder_and_a_denoiser_learn():
    training, held_out = dark_and_bright().split(0)
    encoder = Regression(ConvAutoEncoder(1, 8, 12).build(), reconstructed, CPU, rate=5e-3)
    fit(encoder, training, Limit(steps=60), BatchDrawing(batch=16))
    scores = auto_encoder_scores(encoder.result(), training, held_out)
    assert scores["psnr"] > scores["mean_image_psnr"] + 3
    cleaner = Regression(NoiseUNet(1, 8, 4).build(), denoised, CPU, rate=5e-3)
    fit(cleaner, training, Limit(steps=60), BatchDrawing(batch=16))
    scores = denoiser_scores(cleaner.result(), held_out)
    assert scores["psnr_0.2"] > scores["noisy_psnr_0.2"] + 2
    assert scores["noisy_psnr_0.05"] == pytest.approx(-20 * np.log10(0.05), abs=0.8)


class Plane(nn.Module):
    """A critic whose gradient is the same everywhere."""

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, pictures):
        return (pictures * self.weight).flatten(1).sum(1)


def test_the_gradient_penalty_is_that_of_a_plane():
    made, weight = trainer("wgan-gp"), torch.randn(1, 8, 8)
    made.critic = Plane(weight)
    real, fake = torch.rand(5, 1, 8, 8), torch.rand(5, 1, 8, 8)
    assert made._penalty(real, fake, None).item() == pytest.approx((weight.norm().item() - 1) ** 2, rel=1e-5)


def test_the_critic_of_wgan_gp_takes_five_steps_for_one_of_the_generator():
    made = trainer("wgan-gp")
    before = {name: value.clone() for name, value in made.generator.named_parameters()}
    changed = []
    for _ in range(10):
        made.step(torch.rand(4, 1, 8, 8), None)
        changed.append(any(not torch.equal(before[n], p) for n, p in made.generator.named_parameters()))
        before = {name: value.clone() for name, value in made.generator.named_parameters()}
    assert [number for number, one in enumerate(changed, 1) if one] == [5, 10]


def test_what_the_critic_sees_is_a_shifted_and_brighter_image():
    pictures = -torch.ones(50, 1, 16, 16)
    pictures[:, :, 8, 8] = 1.0
    pictures.requires_grad_()
    seen = augmented(pictures)
    highest = seen.flatten(1).max(1)
    places = torch.stack([highest.indices // 16, highest.indices % 16]) - 8
    assert places.abs().max() == 2
    assert len(places.unique(dim=1).T) > 5
    assert (highest.values - 1).abs().max() <= 0.25
    assert len(highest.values.unique()) > 10
    (slope,) = torch.autograd.grad(highest.values.sum(), pictures)
    assert torch.equal(slope[:, 0, 8, 8], torch.ones(50))


def test_nearest_is_the_mean_of_the_smallest_squared_differences():
    candidates, held_out = torch.rand(30, 1, 4, 4), torch.rand(7, 1, 4, 4)
    every = [(candidates - one).square().mean((1, 2, 3)).min() for one in held_out]
    assert nearest(candidates, held_out) == pytest.approx(float(torch.stack(every).mean()), rel=1e-4)
    assert nearest(held_out, held_out) == pytest.approx(0, abs=1e-5)
    assert decibels(0.01) == pytest.approx(20)


def test_held_out_images_are_not_trained_on():
    images = ImageSet(torch.arange(60, dtype=torch.uint8).view(60, 1, 1, 1), torch.arange(60))
    training, held_out = images.split(3)
    assert (len(training), len(held_out)) == (54, 6)
    assert sorted([*training.labels.tolist(), *held_out.labels.tolist()]) == list(range(60))
    assert torch.equal(held_out.pixels.flatten().long(), held_out.labels)
    assert not torch.equal(images.split(4)[1].labels, held_out.labels)


@pytest.fixture
def npz(tmp_path):
    images = dark_and_bright(40)
    np.savez(tmp_path / "public.npz", images=images.pixels[:, 0].numpy(), labels=images.labels.numpy())
    np.savez(tmp_path / "few.npz", images=images.pixels[:9, 0].numpy())
    np.savez(tmp_path / "unlabelled.npz", images=images.pixels[:, 0].numpy())
    np.savez(tmp_path / "wide.npz", images=images.pixels[:, 0, :4].numpy())
    (tmp_path / "audit.yaml").write_text("data: {source: npz, path: public.npz, batch_size: 2}\n")
    (tmp_path / "taken.safetensors").write_bytes((tmp_path / "public.npz").read_bytes())
    return tmp_path / "public.npz"


SHORT = ("--steps", 3, "--batch-size", 4, "--device", "cpu")


@pytest.mark.parametrize(
    ("arguments", "opens"),
    [
        (("generator", "--conditional", "--width", 4), Generator),
        (("generator", "--architecture", "wgan-gp", "--width", 4), Generator),
        (("auto-encoder",), AutoEncoder),
    ],
    ids=["dcgan", "wgan-gp", "auto-encoder"],
)
@pytest.mark.filterwarnings("ignore")
def test_the_command_writes_a_file_that_says_what_it_is(gradaudit, npz, arguments, opens):
    code, out, err = gradaudit("train", *arguments, "--data", "audit.yaml", "--out", "a.safetensors", *SHORT)
    assert code == 0, err
    assert "eld-out" in out
    network, asset = opens("a.safetensors").open()
    assert (asset.facts["images"], asset.facts["steps"], asset.facts["finished"]) == (40, 3, True)
    assert {"seed", "seconds", "torch", "data"} <= set(asset.facts)
    assert asset.facts["held_out"]
    assert all(value.dtype == torch.float16 for value in asset.state.values() if value.is_floating_point())
    assert getattr(network, "classes", 0) == (2 if "--conditional" in arguments else 0)
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    assert not list(Path().glob("*.pt"))


def test_the_command_resumes_and_does_not_train_twice(gradaudit, npz, monkeypatch):
    command = ("train", "auto-encoder", "--data", npz, *SHORT)
    assert gradaudit(*command, "--out", "whole.safetensors")[0] == 0
    monkeypatch.setattr(fitting, "SNAPSHOT", -1.0)
    step, told = Regression.step, []

    def interrupted(self, pictures, labels):
        told.append(1)
        if len(told) == 3:
            raise KeyboardInterrupt
        return step(self, pictures, labels)

    monkeypatch.setattr(Regression, "step", interrupted)
    code, _, err = gradaudit(*command, "--out", "part.safetensors")
    assert code == 130
    assert "after 2 steps" in err
    assert "same command" in err
    network, asset = AutoEncoder("part.safetensors").open()
    assert not asset.facts["finished"]
    assert network(torch.rand(1, 1, 8, 8)).shape == (1, 1, 8, 8)
    assert gradaudit(*command, "--out", "part.safetensors")[0] == 0
    whole, part = (open_asset(f"{name}.safetensors", "auto-encoder") for name in ("whole", "part"))
    assert_same(dict(whole.state), dict(part.state))
    assert whole.facts["held_out"] == part.facts["held_out"]

    before = hashlib.sha256(Path("part.safetensors").read_bytes()).digest()
    code, out, _ = gradaudit(*command, "--out", "part.safetensors")
    assert code == 0
    assert "already trained" in out
    code, _, err = gradaudit(*command, "--seed", 1, "--out", "part.safetensors")
    assert code == 2
    assert "holds another training" in err
    assert hashlib.sha256(Path("part.safetensors").read_bytes()).digest() == before


REFUSED = {
    "no such data": (("generator", "--data", "nowhere"), "--data: must be an .npz, a folder"),
    "no such file": (("generator", "--data", "nowhere.npz"), "nowhere.npz"),
    "too few images": (("auto-encoder", "--data", "few.npz"), "9 images are too few"),
    "no labels": (("generator", "--data", "unlabelled.npz", "--conditional"), "have no classes"),
    "not square": (("auto-encoder", "--data", "wide.npz"), "4 x 8 pixels. Give the side"),
    "no images": (("denoiser", "--data", "people:public"), "--data: must be"),
    "texts": (("denoiser", "--data", "text.yaml"), "holds no images"),
    "a size that does not fit": (("generator", "--data", "public.npz", "--size", "9"), "times a power of two"),
    "too small": (("auto-encoder", "--data", "public.npz", "--size", "4"), "at least 8 pixels"),
    "no such architecture": (("generator", "--data", "public.npz", "--architecture", "dcgn"), "Did you mean dcgan"),
    "no such choice": (
        ("generator", "--data", "public.npz", "--architecture", "wgan-gp", "--last", "4"),
        "no such choice",
    ),
    "a bad choice": (("generator", "--data", "public.npz", "--last", "2"), "last"),
    "no steps": (("denoiser", "--data", "public.npz", "--steps", "0"), "--steps: must be more than 0"),
    "another ending": (("denoiser", "--data", "public.npz", "--out", "a.pt"), "must end in .safetensors"),
    "a file of another kind": (("denoiser", "--data", "public.npz", "--out", "taken.safetensors"), "taken.safetensors"),
    "a folder that is a file": (
        ("denoiser", "--data", "public.npz", "--out", "few.npz/a.safetensors"),
        "--out few.npz",
    ),
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=list(REFUSED))
def test_what_does_not_fit_is_said_in_one_line(gradaudit, npz, arguments, said):
    npz.with_name("text.yaml").write_text("data: {source: text}\n")
    given = arguments if "--out" in arguments else (*arguments, "--out", "a.safetensors")
    code, _, err = gradaudit("train", *given)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not Path("a.safetensors").exists()


def test_a_training_needs_a_limit():
    with pytest.raises(AuditError, match="number of steps or a time"):
        Limit()
    assert Limit(seconds=2.0).reached(1, 2.5)
    assert not Limit(steps=5, seconds=2.0).reached(4, 1.9)
    assert Limit(steps=10, seconds=100.0).fraction(5, 80.0) == pytest.approx(0.8)
