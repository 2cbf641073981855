"""Trained networks in attacks: GI-PIP's auto-encoder, denoising on the way, and how an audit finds their files."""

import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn

from conftest import linear_net, make_batch
from gradaudit import Client, Knowledge, Level, Normalisation
from gradaudit.attacks.gi_pip import ATTACK as GI_PIP
from gradaudit.attacks.gi_pip import WEIGHTS
from gradaudit.audit.config import AttackEntry, make_config
from gradaudit.audit.plan import make_plan
from gradaudit.audit.resolve import make_attack
from gradaudit.inversion.parts.denoisers.non_local_means import NonLocalMeans
from gradaudit.inversion.parts.denoisers.trained_denoiser import TrainedDenoiser
from gradaudit.inversion.parts.denoisers.tv_chambolle import TvChambolle
from gradaudit.inversion.parts.moves.denoise import Denoise
from gradaudit.inversion.parts.parametrisations.coarse import Coarse
from gradaudit.inversion.parts.parametrisations.pixels import Pixels
from gradaudit.inversion.parts.part import Progress
from gradaudit.inversion.parts.priors.auto_encoder_error import AutoEncoderError
from gradaudit.inversion.run.denoised import Denoised
from gradaudit.inversion.run.refusal import require_fit
from gradaudit.models.assets import SHIPPED, save_asset
from gradaudit.models.auto_encoders.conv_auto_encoder import ConvAutoEncoder
from gradaudit.models.auto_encoders.trained_auto_encoder import AutoEncoder
from gradaudit.models.denoising.noise_unet import NoiseUNet
from gradaudit.models.denoising.trained_denoising import DenoisingNetwork
from gradaudit.values.errors import AttackFailed, AuditError, MissingKnowledge
from gradaudit.values.types import Modality
from properties import assert_repr_rebuilds
from test_rog_fedleak import blobs

KNOWN = Level.DATA_DISTRIBUTION | Knowledge.LABELS
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
AT = Progress(0, 10)


@pytest.fixture
def files(tmp_path):
    """An auto-encoder and a denoiser of 3 x 8 x 8 images with random weights."""
    torch.manual_seed(3)
    encoder, cleaner = ConvAutoEncoder(3, 8, 4), NoiseUNet(3, 8, 4)
    facts = {"held_out": {"error": 0.02}}
    save_asset(
        tmp_path / "ae.safetensors", "auto-encoder", "conv-auto-encoder", encoder.settings, facts, state(encoder)
    )
    save_asset(tmp_path / "bare.safetensors", "auto-encoder", "conv-auto-encoder", encoder.settings, {}, state(encoder))
    save_asset(tmp_path / "den.safetensors", "denoiser", "noise-unet", cleaner.settings, {}, state(cleaner))
    return tmp_path


def state(architecture):
    return architecture.build().state_dict()


def encoder(files, name="ae"):
    return AutoEncoder(str(files / f"{name}.safetensors"))


def seen(side=8, channels=3, facts=KNOWN):
    torch.manual_seed(0)
    client = Client(linear_net(10, channels * side**2), normalisation=Normalisation(MEAN[:channels], STD[:channels]))
    return client.share(make_batch(2, channels, side), facts)


def plain(weights, pictures):
    """The auto-encoder, layer by layer."""
    x = pictures
    for number in (0, 2, 4):
        kernel, bias = weights[f"layers.{number}.weight"], weights[f"layers.{number}.bias"]
        x = nn.functional.conv2d(x, kernel, bias, stride=2, padding=1).relu()
    for number in (6, 8, 10):
        kernel, bias = weights[f"layers.{number}.weight"], weights[f"layers.{number}.bias"]
        x = nn.functional.conv_transpose2d(x, kernel, bias, stride=2, padding=1)
        x = x.sigmoid() if number == 10 else x.relu()
    return x


@pytest.mark.parametrize("tau", [None, 0.3])
def test_the_anomaly_score_is_the_distance_of_the_error_from_tau(files, tau):
    inputs = 2 * torch.randn(2, 3, 8, 8)
    weights = encoder(files).asset().state
    pixels = torch.stack([inputs[:, c] * STD[c] + MEAN[c] for c in range(3)], 1).clamp(0, 1)
    error = sum(float(((plain(weights, one[None])[0] - one) ** 2).sum()) for one in pixels) / inputs.numel()
    found = AutoEncoderError(encoder(files), tau).bind(seen())(inputs, AT)
    assert found.item() == pytest.approx(abs(error - (0.02 if tau is None else tau)), rel=1e-4)
    assert error > 0.021


def test_its_slope_leads_to_images_that_the_auto_encoder_knows(files):
    penalty = AutoEncoderError(encoder(files), tau=0).bind(seen())
    inputs = torch.randn(2, 3, 8, 8)
    before = penalty(inputs, AT).item()
    for _ in range(60):
        leaf = inputs.clone().requires_grad_()
        (slope,) = torch.autograd.grad(penalty(leaf, AT), leaf)
        inputs = inputs - 40 * slope
    assert penalty(inputs, AT).item() < 0.7 * before


def test_an_auto_encoder_of_other_images_is_refused(files):
    with pytest.raises(AttackFailed, match=r"images of 3 x 8 x 8, and the client's are 1 x 4 x 4\. .*--size 4"):
        AutoEncoderError(encoder(files)).bind(seen(4, 1))
    with pytest.raises(AttackFailed, match="Give tau"):
        AutoEncoderError(encoder(files, "bare")).bind(seen())
    with pytest.raises(AttackFailed, match="of the kind denoiser, not auto-encoder"):
        AutoEncoderError(encoder(files, "den")).bind(seen())
    with pytest.raises(AttackFailed, match="made for pictures"):
        require_fit(GI_PIP, KNOWN, Modality.TEXT)
    with pytest.raises(MissingKnowledge, match="GENERATOR"):
        require_fit(GI_PIP, KNOWN & ~Knowledge.GENERATOR, Modality.PICTURES)


def test_gi_pip_recovers_images_with_its_prior(files):
    stage = GI_PIP.stages[0]
    variation, anomaly = stage.terms
    term = replace(anomaly, prior=AutoEncoderError(encoder(files)))
    attack = replace(GI_PIP, stages=(replace(stage, steps=80, terms=(variation, term)),))
    assert_repr_rebuilds(attack)
    torch.manual_seed(0)
    client = Client(linear_net(10, 192), normalisation=Normalisation(MEAN, STD))
    batch = make_batch(1, 3)
    there = client.share(batch, KNOWN)
    error = (attack(there, seed=1).inputs - batch.inputs).square().mean()
    assert error < 6e-3
    strong = replace(attack, stages=(replace(attack.stages[0], terms=(variation, replace(term, weight=10.0))),))
    assert (strong(there, seed=1).inputs - batch.inputs).square().mean() > 3 * error


def test_the_weights_are_those_of_one_image():
    assert tuple(term.weight for term in GI_PIP.stages[0].terms) == WEIGHTS[1] == (1e-6, 1e-6)


def test_an_audit_finds_the_file_beside_it_and_says_at_once_which_command_makes_a_missing_one(files, monkeypatch):
    monkeypatch.chdir(files)
    (files / "deep").mkdir()
    shutil.copy(files / "ae.safetensors", files / "deep" / "own.safetensors")

    def made(name):
        entry = AttackEntry(name="gi-pip", set={"stages.0.terms.1.prior.network.source": name})
        return make_attack(entry, files / "deep", "attacks.0")

    network = made("own.safetensors").stages[0].terms[1].prior.network
    assert network.source == "deep/own.safetensors"
    assert network.asset().kind == "auto-encoder"
    (files / "elsewhere").mkdir()
    monkeypatch.chdir(files / "elsewhere")
    assert made("own.safetensors").stages[0].terms[1].prior.network.source == str(files / "deep/own.safetensors")
    assert made("fashion-auto-encoder") == GI_PIP
    with pytest.raises(AuditError, match=r"attacks\.0: auto-encoder: no file at .*absent.* train auto-encoder --data"):
        made("absent.safetensors")
    inside = {"stages.0.moves": f"(Denoise(TrainedDenoiser(DenoisingNetwork('{files}/none.safetensors'))),)"}
    with pytest.raises(AuditError, match=r"attacks\.0: denoiser: no file"):
        make_attack(AttackEntry(name="inverting-gradients", set=inside), files, "attacks.0")


DENOISED = "inverting-gradients-fast-denoised"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            {"name": "gi-pip", "set": {"stages.0.terms.1.prior.network.source": "ae.safetensors"}},
            "attacks.0: gi-pip: AutoEncoderError: ae.safetensors is for images of 3 x 8 x 8, and the client's are "
            "3 x 16 x 16. Train one on such images (`gradaudit train auto-encoder --data DATA --size 16",
        ),
        (
            {
                "name": DENOISED,
                "set": {"denoiser": "TrainedDenoiser(DenoisingNetwork('two'))"},
            },
            f"attacks.0: {DENOISED}: the denoiser two is for images of 2 channels, and these have "
            "3. Train one on such images with `gradaudit train denoiser`.",
        ),
    ],
    ids=["auto-encoder", "denoiser"],
)
def test_a_network_for_other_images_is_refused_before_anything_runs(files, monkeypatch, entry, said):
    monkeypatch.setenv("GRADAUDIT_ASSETS", str(files))
    two = NoiseUNet(2, 8, 4)
    save_asset(files / "two.safetensors", "denoiser", "noise-unet", two.settings, {}, state(two))
    document = {
        "data": {"source": "photographs", "size": 16},
        "model": {"name": "mlp", "num_classes": 10},
        "knowledge": ["data-distribution", "LABELS", "GENERATOR"],
        "attacks": [entry],
    }
    with pytest.raises(AuditError) as told:
        make_plan(make_config(document), files)
    assert said in str(told.value)


def test_the_move_pulls_pixels_towards_the_denoised_image(files):
    there, move = seen(), Denoise(every=3, share=0.25, first=0.3, last=0.1)
    candidate, step = Pixels(init="uniform").start(there, 2, None), move.bind(there)
    start = candidate.variables["pixels"].clone()
    for number in range(2):
        step(candidate, None, Progress(number, 9))
        assert torch.equal(candidate.variables["pixels"], start)
    step(candidate, None, Progress(2, 9))
    noise = 0.3 * (1 / 3) ** (2 / 9)
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (MEAN, STD))
    pixels = start * std + mean
    cleaned = torch.stack([TvChambolle(noise)(images) for images in pixels])
    expected = ((0.75 * pixels + 0.25 * cleaned) - mean) / std
    assert torch.allclose(candidate.variables["pixels"], expected, atol=1e-5)
    assert (move.noise(Progress(0, 9)), move.noise(Progress(9, 9))) == pytest.approx((0.3, 0.1))


def test_the_move_brings_a_noisy_image_closer():
    there = Client(linear_net(10, 256)).share(blobs(0), KNOWN)
    clean = blobs(0).inputs
    candidate = Pixels().start(there, 1, None)
    candidate.variables["pixels"].copy_(clean + 0.1 * torch.randn(clean.shape))
    before = (candidate.decode() - clean).square().mean()
    step = Denoise(every=1, first=0.1, last=0.1).bind(there)
    for number in range(3):
        step(candidate, None, Progress(number, 3))
    assert (candidate.decode() - clean).square().mean() < 0.7 * before


def test_the_move_is_for_pixels_of_images():
    there = seen()
    with pytest.raises(AttackFailed, match="denoises pixels, but the stage optimises"):
        Denoise(every=1).bind(there)(Coarse(2).start(there, 1, None), None, Progress(0, 2))
    moved = replace(GI_PIP, stages=(replace(GI_PIP.stages[0], terms=(), moves=(Denoise(),)),))
    with pytest.raises(AttackFailed, match="made for pictures"):
        require_fit(moved, KNOWN, Modality.TEXT)
    assert Denoise().needs == Knowledge.NOTHING
    assert Denoise(TrainedDenoiser()).needs == Knowledge.GENERATOR
    assert Knowledge.GENERATOR in Denoised(moved, TrainedDenoiser()).needs


def test_a_trained_denoiser_is_told_the_noise_and_the_channels(files):
    own = TrainedDenoiser(DenoisingNetwork(str(files / "den.safetensors")))
    pictures = torch.rand(2, 3, 8, 8)
    network, _ = own.network.open()
    expected = network(pictures, torch.full((2,), 0.25)).clamp(0, 1)
    assert torch.allclose(own.at(0.25)(pictures), expected, atol=1e-5)
    assert not torch.allclose(own(pictures), expected, atol=1e-4)
    with pytest.raises(AttackFailed, match="images of 3 channels, and these have 1"):
        own(pictures[:, :1])
    grey = TrainedDenoiser()
    assert torch.allclose(grey(pictures)[:, 1:2], grey(pictures[:, 1:2]), atol=1e-6)


def test_filters_take_the_noise_as_their_strength():
    assert TvChambolle(0.5).at(0.07) == TvChambolle(0.07)
    assert NonLocalMeans(patch=3).at(0.07) == NonLocalMeans(0.07, patch=3)


def test_what_is_shipped_opens_and_is_small():
    kinds = {"dcgan": "generator", "cdcgan": "generator", "auto-encoder": "auto-encoder", "denoiser": "denoiser"}
    for path in SHIPPED.glob("*.safetensors"):
        assert path.stat().st_size < 2_000_000
        assert path.stem.partition("-")[2] in kinds
    assert AutoEncoder("fashion-auto-encoder").open()[1].facts["held_out"]["error"] < 0.02
