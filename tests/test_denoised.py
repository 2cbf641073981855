"""A reconstruction that is denoised afterwards, and its control, which is denoised as well."""

import math
from dataclasses import dataclass, replace

import pytest
import torch

import gradaudit as ga
from gradaudit.attacks import constructors
from gradaudit.attacks.mgia import ATTACK as MGIA
from gradaudit.audit.controls import positive_control
from gradaudit.audit.overrides import override
from gradaudit.inversion.parts.denoisers import DENOISERS, Denoiser, NonLocalMeans, TvChambolle
from gradaudit.inversion.run.denoised import Denoised
from gradaudit.protocol.defenses import GaussianNoise, TopK
from gradaudit.values.errors import AttackFailed, AuditError
from test_rog_fedleak import KNOWN, WHOLE, blobs, client, cut, error

FAST = ga.attacks.INVERTING_GRADIENTS_FAST
SHORT = cut(WHOLE, 3)


@dataclass(frozen=True)
class Black(Denoiser):
    """Every image becomes black."""

    def smooth(self, image):
        """Return zeros."""
        return 0 * image


@pytest.mark.parametrize("denoiser", [kind() for kind in DENOISERS.values()], ids=repr)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_denoiser_removes_noise_of_each_image_by_itself(denoiser, channels):
    clean = blobs(0, 2, side=32).inputs.expand(2, channels, 32, 32)
    noisy = clean + 0.08 * torch.randn(clean.shape)
    noisy[0, 0, 0, :4] = torch.tensor([2.0, -1.0, 1.5, 0.5])
    before, found = noisy.clone(), denoiser(noisy)
    assert torch.equal(noisy, before)
    assert (found.shape, found.dtype) == (noisy.shape, noisy.dtype)
    assert 0 <= found.min() <= found.max() <= 1
    assert torch.equal(found[1:], denoiser(noisy[1:]))
    assert (found - clean).square().mean() < 0.75 * (noisy.clamp(0, 1) - clean).square().mean()
    noisy[0, 0, 0, 0] = torch.nan
    assert torch.equal(denoiser(noisy)[0].nan_to_num(), noisy[0].nan_to_num())
    with pytest.raises(AttackFailed, match=r"needs images \[B, C, H, W\]"):
        denoiser(noisy[0])


@pytest.mark.parametrize("seed", range(3))
def test_it_comes_closer_under_noise_than_the_attack_alone(seed):
    batch = blobs(seed)
    seen = client(GaussianNoise(0.1, relative=True)).share(batch, KNOWN, seed=seed)
    plain = cut(WHOLE, 60)
    found = Denoised(plain, TvChambolle(0.1))(seen, seed=seed)
    assert torch.equal(found.inputs, TvChambolle(0.1)(plain(seen, seed=seed).inputs))
    assert error(found, batch) < 0.75 * error(plain(seen, seed=seed), batch)


def test_a_verified_reconstruction_is_so_no_longer():
    """Without noise a filter only removes detail: objective and `verified` are those of the filtered images."""
    seen = client(side=8).share(blobs(0, side=8), KNOWN)
    attack = cut(FAST, 10)
    plain, light, strong = (
        attack(seen),
        Denoised(attack, TvChambolle(1e-7))(seen),
        Denoised(attack, TvChambolle())(seen),
    )
    assert plain.verified
    assert light.verified
    assert not strong.verified
    assert light.objective < 1e-6 < strong.objective
    assert strong.notes[-1].startswith("Denoised by TvChambolle(weight=0.1)")


def test_an_attack_that_is_not_composed_of_parts_has_no_objective_of_a_filtered_image():
    seen = client(side=8).share(blobs(0, side=8), (*KNOWN, "DEFENSE"))
    found = Denoised(ga.adaptive(SHORT, TopK(1.0)))(seen)
    assert math.isnan(found.objective)
    assert not found.verified


def audited(attack, **options):
    others = torch.rand(6, 1, 16, 16)
    return ga.run(client(GaussianNoise(0.1, relative=True)), blobs(0), attack, list(KNOWN), others=others, **options)


def test_its_control_is_denoised_as_well():
    """What a filter makes of any guess is no gain."""
    plain, smooth = audited(SHORT).findings[0], audited(Denoised(SHORT, TvChambolle(0.5))).findings[0]
    assert plain.control.psnr.mean + 0.3 < smooth.control.psnr.mean
    assert smooth.gain[0] == pytest.approx(smooth.scores.psnr.mean - smooth.control.psnr.mean)
    note = "The control passed through the same processing as the reconstruction, so that this alone is no gain."
    assert note in smooth.notes
    assert note not in plain.notes
    black = audited(Denoised(SHORT, Black())).findings[0]
    assert black.scores.psnr == black.control.psnr
    assert black.mean_gain == 0


def test_the_positive_control_denoises_its_guess_as_well():
    plain, smooth = (
        positive_control(client(), blobs(0), attack=attack, others=torch.rand(6, 1, 16, 16))
        for attack in (SHORT, Denoised(SHORT, Black()))
    )
    assert smooth.score == smooth.guess != plain.guess


def test_a_processing_that_changes_the_shape_is_refused():
    @dataclass(frozen=True)
    class Cropped(Denoised):
        def post_process(self, inputs):
            return inputs[..., :-1, :]

        def __call__(self, seen, **options):
            return self.attack(seen, **options)

    with pytest.raises(AuditError, match=r"post_process must keep the shape \[1, 1, 16, 16\]. Found \[1, 1, 15, 16\]"):
        audited(Cropped(SHORT))


def test_it_is_a_value_that_works_with_everything(tmp_path):
    attack = override(ga.attacks.INVERTING_GRADIENTS_FAST_DENOISED, "stages.0.steps", 2, constructors(), at="attacks.0")
    assert attack.attack.stages[0].steps == 2
    assert eval(repr(attack), dict(constructors())) == attack
    with pytest.raises(AuditError, match=r"attacks\.0\.stage: Denoised has no field stage"):
        override(attack, "stage", 2, constructors(), at="attacks.0")
    with pytest.raises(AuditError, match=r"attacks\.0\.attack\.stages\.0\.steps: should be"):
        override(attack, "stages.0.steps", 0, constructors(), at="attacks.0")
    short = Denoised(replace(SHORT, restarts=2, iterates=(1,)), NonLocalMeans())
    seen = client(TopK(0.5)).share(blobs(0), (*KNOWN, "DEFENSE"))
    found = short(seen, keep=tmp_path / "run")
    assert len(found.trace) == 2
    assert torch.equal(short(seen, keep=tmp_path / "run").inputs, found.inputs)
    assert list(tmp_path.iterdir())
    assert torch.equal(found.iterates[0][1], NonLocalMeans()(short.attack(seen).iterates[0][1]))
    assert ga.adaptive(short).post_process == short.post_process
    assert math.isfinite(ga.adaptive(short)(seen).objective)


def test_it_is_for_images_and_one_update():
    with pytest.raises(AttackFailed, match="takes two updates"):
        Denoised(MGIA)
    with pytest.raises(AttackFailed, match="should be greater than 0"):
        NonLocalMeans(strength=0.0)
    assert Denoised(SHORT, NonLocalMeans()).name == "rog-denoised"
    assert any("GUIDE" in sentence for sentence in Denoised(SHORT).deviations)
