"""What an update determines without any attack: known answers, the estimate, the client's map, the command."""

import doctest
import json
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import gradaudit as ga
from conftest import make_batch, smooth_net
from gradaudit.audit.config import make_config
from gradaudit.audit.recoverable import UNIFORM, prior_variance, recoverability, require_simulated
from gradaudit.audit.sweep_file import read_sweep
from gradaudit.client.update_map import update_map
from gradaudit.metrics.linearisation import Linearised
from gradaudit.metrics.posterior_variance import exact_ratios, fits_exactly, rounding_noise
from gradaudit.metrics.variance_bounds import LanczosEffort, estimated_ratios
from gradaudit.protocol.defenses import DEFENSES
from gradaudit.values.errors import AuditError
from gradaudit.values.types import Modality

VARIANCE = 0.05
TINY = 1e-9  # noise that hides nothing


def linearised(model, batch, training=None, **options):
    given = update_map(ga.Client(model, training or ga.FedSGD(), **options), batch)
    return Linearised(given.function, given.images)


def exact(line, *noises, variance=VARIANCE):
    return list(exact_ratios(line, noises, variance))


def matrix(rows):
    """A linear update."""
    return Linearised(lambda x: rows @ x, torch.zeros(rows.shape[1], dtype=torch.float64))


# ------------------------------------------------------------------------------------------------------ known answers


def test_a_linear_layer_with_a_bias_gives_everything():
    (found,) = exact(linearised(nn.Sequential(nn.Flatten(), nn.Linear(36, 5)), make_batch(1, side=6, classes=5)), TINY)
    assert found.ratios.shape == (1, 1, 6, 6)
    assert float(found.ratios.max()) < 1e-9
    assert (found.exact, found.error, found.below_half) == (True, 0.0, 1.0)
    assert found.determined == pytest.approx(36)


def test_pixels_that_no_layer_sees_stay_at_the_prior():
    model = nn.Sequential(nn.Conv2d(1, 2, 1, stride=2), nn.Sigmoid(), nn.Flatten(), nn.Linear(18, 5))
    (found,) = exact(linearised(model, make_batch(1, side=6, classes=5)), TINY)
    seen = torch.zeros(6, 6, dtype=torch.bool)
    seen[::2, ::2] = True
    assert bool((found.ratios[0, 0][~seen] == 1).all())
    assert float(found.ratios[0, 0][seen].max()) < 1e-6


def test_what_only_dead_units_see_stays_at_the_prior():
    first = nn.Conv2d(1, 1, 2, stride=2)
    nn.init.ones_(first.weight)
    nn.init.constant_(first.bias, -1.0)
    picture = torch.tensor([[0.9, 0.8, 0.1, 0.2], [0.7, 0.6, 0.1, 0.1]])  # the unit on the dark half is off
    batch = ga.Batch(picture[None, None], torch.tensor([0]))
    (found,) = exact(linearised(nn.Sequential(first, nn.ReLU(), nn.Flatten(), nn.Linear(2, 3)), batch), TINY)
    assert found.ratios[0, 0, :, 2:].flatten().tolist() == [1.0] * 4
    assert float(found.ratios[0, 0, :, :2].max()) < 1


@pytest.mark.parametrize(("labels", "ratio"), [([3, 3], 0.5), ([3, 4], 0.0)])
def test_two_equal_labels_at_a_head_without_bias_give_only_the_mixture(labels, ratio):
    head = nn.Linear(36, 5, bias=False)
    nn.init.zeros_(head.weight)  # all logits are equal, so that both images have one factor
    batch = ga.Batch(torch.rand(2, 1, 6, 6), torch.tensor(labels))
    (found,) = exact(linearised(nn.Sequential(nn.Flatten(), head), batch), TINY)
    assert found.ratios.flatten().tolist() == pytest.approx([ratio] * 72, abs=1e-9)


def test_the_ratios_grow_with_the_noise_and_end_at_one():
    levels = [1e-6, 1e-4, 1e-3, 1e-2, 0.1, 1e6]
    found = exact(linearised(smooth_net(), make_batch()), *levels)
    for less, more in pairwise(found):
        assert bool((less.ratios <= more.ratios + 1e-12).all())
        assert less.mean < more.mean
    assert found[-1].mean == pytest.approx(1, abs=1e-6)
    assert found[0].psnr(VARIANCE) > found[-1].psnr(VARIANCE) == pytest.approx(-10 * np.log10(VARIANCE), abs=1e-3)


@pytest.mark.parametrize("noise", [0.3, np.array([0.1, 0.5, 2.0])])
def test_the_posterior_mean_of_a_linear_gaussian_model_reaches_the_ratios(noise):
    """Images drawn from the prior, and their posterior means by the gain of a Kalman filter."""
    generator = np.random.default_rng(0)
    rows, variance = generator.normal(size=(3, 5)), np.array([0.05, 0.1, 0.2, 0.4, 0.8])
    x = generator.normal(size=(200_000, 5)) * np.sqrt(variance)
    y = x @ rows.T + generator.normal(size=(200_000, 3)) * noise
    prior = np.diag(variance)
    gain = prior @ rows.T @ np.linalg.inv(rows @ prior @ rows.T + np.diag(np.full(3, noise) ** 2))
    measured = ((x - y @ gain.T) ** 2).mean(0) / variance
    level = torch.from_numpy(noise) if isinstance(noise, np.ndarray) else noise
    (found,) = exact(matrix(torch.from_numpy(rows)), level, variance=torch.from_numpy(variance))
    assert found.ratios.numpy() == pytest.approx(measured, rel=0.02)  # six standard errors


def test_small_singular_values_are_not_lost():
    """Squares of a ratio of 1e10 need more digits than there are."""
    rows = (
        torch.diag(torch.tensor([1e10, 1.0, 0.0], dtype=torch.float64))
        @ torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    )
    (found,) = exact(matrix(rows), 1.0, variance=1.0)
    assert 3 * found.mean == pytest.approx(1.5, abs=1e-4)


def test_noise_and_variance_must_be_positive():
    with pytest.raises(AuditError, match="noise: must be positive"):
        exact(matrix(torch.eye(2, dtype=torch.float64)), 0.0)
    with pytest.raises(AuditError, match="variance: must be positive"):
        exact(matrix(torch.eye(2, dtype=torch.float64)), 1.0, variance=0.0)


@pytest.mark.parametrize("thing", [Linearised, exact_ratios, recoverability], ids=lambda thing: thing.__name__)
def test_the_examples_of_the_docstrings_run(thing):
    names = {"ga": ga, "torch": torch, "Linearised": Linearised, "exact_ratios": exact_ratios}
    (found,) = doctest.DocTestFinder(recurse=False).find(thing, thing.__name__, globs=names)
    assert found.examples
    assert doctest.DocTestRunner().run(found).failed == 0


# ------------------------------------------------------------------------------------------------------- the estimate


@pytest.mark.parametrize("steps", [3, 40])
def test_the_estimate_holds_the_exact_ratio_within_its_error(steps):
    line = linearised(smooth_net(), make_batch())
    levels = [TINY, 1e-3, 1e-2, 0.1, 1.0]
    levels += [rounding_noise(line.value, [line.value.numel()])] if steps < 20 else []
    truth = exact(line, *levels)
    for seed in range(3):
        for one, true in zip(
            estimated_ratios(line, levels, VARIANCE, LanczosEffort(steps, 16, seed)), truth, strict=True
        ):
            assert not one.exact
            assert abs(one.mean - true.mean) <= one.error
            assert bool((one.ratios >= true.ratios - 1e-9).all())  # each pixel has an upper bound
            assert one.below_half <= true.below_half
            assert one.psnr(VARIANCE) >= true.psnr(VARIANCE) - 1e-9


def test_the_estimate_is_close_where_noise_hides_the_rest():
    line = linearised(smooth_net(), make_batch())
    for steps, most in ((10, 0.1), (60, 0.02)):
        (one,) = estimated_ratios(line, [0.1], VARIANCE, LanczosEffort(steps))
        assert 0 < one.error < most


def test_as_many_steps_as_pixels_give_the_exact_ratios():
    """Also where the process ends early, since all singular values are equal, and where pixels are not seen."""
    flat = linearised(nn.Sequential(nn.Flatten(), nn.Linear(36, 5)), make_batch(1, side=6, classes=5))
    strided = nn.Sequential(nn.Conv2d(1, 2, 1, stride=2), nn.Sigmoid(), nn.Flatten(), nn.Linear(18, 5))
    for line in (flat, linearised(strided, make_batch(1, side=6, classes=5))):
        levels = [TINY, 0.1]
        for one, true in zip(
            estimated_ratios(line, levels, VARIANCE, LanczosEffort(99)), exact(line, *levels), strict=True
        ):
            assert (one.exact, one.error) == (True, 0.0)
            assert one.ratios.flatten().tolist() == pytest.approx(true.ratios.flatten().tolist(), abs=1e-9)


def test_what_is_too_large_is_estimated():
    assert fits_exactly(10_000, 3072, 2**34)
    assert not fits_exactly(11_000_000, 768, 2**34)
    assert not fits_exactly(10, 10_000, 2**34)
    assert not fits_exactly(10_000, 3072, 2**30)
    client, batch = ga.Client(smooth_net()), make_batch()
    ((row, ratios),) = recoverability(client, batch, [0.1], exact=False, effort=LanczosEffort(5))
    assert not row.exact
    assert row.ends[0] < row.mean < row.ends[1]
    assert ratios.shape == batch.inputs.shape


# ------------------------------------------------------------------------------------------------------ the derivative


class Cube(torch.autograd.Function):
    """A function that cannot be mapped over vectors."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        assert slope.sum().item() is not None  # `item` is what vmap refuses
        return 3 * x**2 * slope


@pytest.mark.parametrize("cube", [Cube.apply, lambda x: x**3], ids=["one by one", "mapped"])
@pytest.mark.parametrize("entries", [3, 40])
def test_products_with_the_jacobian_are_those_of_torch(cube, entries):
    weights = torch.randn(entries, 4, dtype=torch.float64)
    inputs = torch.rand(2, 2, dtype=torch.float64)

    def update(x):
        return weights @ cube(x).flatten()

    line, whole = Linearised(update, inputs), weights * (3 * inputs.flatten() ** 2)
    assert line.sizes == (entries, 4)
    torch.testing.assert_close(line.jacobian(), whole)
    columns, rows = torch.randn(3, 4).double(), torch.randn(5, entries).double()
    torch.testing.assert_close(line.push(columns), columns @ whole.T)
    torch.testing.assert_close(line.pull(rows), rows @ whole)


def test_an_update_that_does_not_see_the_inputs_says_nothing():
    line = Linearised(lambda x: torch.ones(4, dtype=torch.float64), torch.rand(3).double())
    assert exact(line, 1e-9)[0].mean == 1
    assert next(estimated_ratios(line, [1e-9], 0.1, LanczosEffort(2))).mean == 1


def test_rounding_noise_is_that_of_single_precision():
    value = (1 + torch.rand(100_000, dtype=torch.float64)) * 3e-4
    measured = float((value.float().double() - value).std())
    expected = float(rounding_noise(value, [len(value)]).square().mean().sqrt())
    assert measured < expected < 4 * measured
    small = rounding_noise(torch.tensor([0.0, 1.0, 0.0, 1e-6]).double(), [2, 2])
    assert bool((small > 0).all())
    assert float(small[0]) > 1e3 * float(small[2])  # each tensor has a scale of its own
    half = rounding_noise(value, [len(value)], torch.float16)
    assert float(half[0] / rounding_noise(value, [len(value)])[0]) == pytest.approx(2**13)


# --------------------------------------------------------------------------------------------------- the client's map

TRAININGS = {
    "gradient": ga.FedSGD(),
    "batch statistics": ga.FedSGD(batch_norm="train"),
    "local steps": ga.FedAvg(learning_rate=0.1, epochs=2, minibatch_size=1, shuffle=True, momentum=0.5),
    "a part": ga.FedSGD(shared=("4.*",)),
}


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
def test_the_map_is_the_update_of_the_client(training):
    batch = make_batch(3)
    client = ga.Client(smooth_net(), training, normalisation=ga.Normalisation((0.4,), (0.2,)))
    sent, given = client.train(batch, seed=3), update_map(client, batch, seed=3)
    assert given.counts == tuple(tensor.numel() for tensor in sent.values)
    found = given.function(given.images).float()
    torch.testing.assert_close(found, torch.cat([t.flatten() for t in sent.values]), rtol=1e-3, atol=1e-6)


def test_the_map_of_several_clients_is_their_sum(batch):
    client = ga.SecureAggregation(smooth_net(), ga.FedAvg(learning_rate=0.5, epochs=3), sizes=(1, 1))
    given = update_map(client, batch)
    sent = torch.cat([t.flatten() for t in client.train(batch).values])
    torch.testing.assert_close(given.function(given.images).float(), sent, rtol=1e-3, atol=1e-6)


def test_what_cannot_be_one_differentiable_update_is_refused(batch):
    with pytest.raises(AuditError, match="Set rounds to 1"):
        update_map(ga.Client(smooth_net(), rounds=2), batch)
    with pytest.raises(AuditError, match="Set training.share_buffers to false".replace(".", r"\.")):
        update_map(ga.Client(smooth_net(), ga.FedSGD(share_buffers=True)), batch)
    rows = ga.Batch(torch.rand(2, 4), torch.tensor([0, 1]), modality=Modality.TABLE)
    with pytest.raises(AuditError, match="is for images"):
        update_map(ga.Client(nn.Linear(4, 3)), rows)


def test_clipping_and_noise_of_the_client_count_where_they_come_first(batch):
    """Noise of 0.1 on a gradient that is clipped to a length of 0.01 hides it; noise after another defense is none."""
    model, noise, clip = smooth_net(), ga.defenses.GaussianNoise(0.1), ga.defenses.Clip(0.01)

    def told(*defenses, client=ga.Client, **options):
        ((row, _),) = recoverability(client(model, defenses=defenses, **options), batch)
        return row.mean, " ".join(row.remarks)

    plain, noisy, hidden = told()[0], told(noise, clip), told(clip, noise)
    assert plain < 0.01 < noisy[0] - 0.01
    assert hidden[0] > 0.99 > noisy[0] + 0.01
    assert "includes the client's own Gaussian noise" in hidden[1]
    assert "Before" not in hidden[1]
    assert "Before clip" in noisy[1]
    assert told(DEFENSES["sign"](), noise)[0] == plain
    assert told(ga.defenses.GaussianNoise(0.1, relative=True))[0] == plain
    assert told(clip, noise, client=ga.SecureAggregation, sizes=(1, 1))[0] < 0.01  # each member has noise of its own


def test_the_prior_variance_is_that_of_other_images():
    batch, others = make_batch(), make_batch(5, seed=1).inputs
    expected = float(others.double().var(0).mean())
    assert prior_variance(batch, None, others)[0] == pytest.approx(expected)
    public = torch.cat([others, batch.inputs])  # private ones among the public are left out
    found, told = prior_variance(batch, public, others[:2])
    assert found == pytest.approx(expected)
    assert "5 public images" in told
    assert prior_variance(batch, None, others[:1])[0] == UNIFORM


# ------------------------------------------------------------------------------------------- the file and the command

CONFIG = {
    "data": {"source": "photographs", "size": 8, "batch_size": 2},
    "model": {"factory": "net.py:net"},
    "knowledge": ["priors", "LABELS"],
    "attacks": [{"name": "idlg"}],
    "device": "cpu",
}
NET = """
from torch import nn
def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Sigmoid(), nn.Flatten(), nn.Linear(36, 10))
"""


@pytest.fixture
def audit_file(tmp_path):
    def write(**changes):
        (tmp_path / "net.py").write_text(NET)
        path = tmp_path / "audit.yaml"
        path.write_text(yaml.safe_dump({**CONFIG, **changes}))
        return path

    return write


def test_the_section_of_an_audit_file():
    assert make_config(CONFIG).recoverability is None
    assert make_config({**CONFIG, "recoverability": False}).recoverability is None
    assert make_config({**CONFIG, "recoverability": True}).recoverability.noise[0] == 0
    found = make_config({**CONFIG, "recoverability": {"noise": [0, 0.5]}})
    assert found.recoverability.noise == (0.0, 0.5)
    assert make_config(yaml.safe_load(found.as_yaml())).recoverability == found.recoverability
    assert "recoverability" not in found.model_dump()  # another noise level is no other run
    for wrong in ({"noise": [-1]}, {"noise": []}, {"steps": 0}, {"strength": 1}, 3):
        with pytest.raises(AuditError, match="recoverability"):
            make_config({**CONFIG, "recoverability": wrong})


def test_a_captured_update_is_refused():
    with pytest.raises(AuditError, match="update names a captured one"):
        require_simulated(object())


def test_a_sweep_refuses_the_section(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "recoverability": True, "grid": {"seed": [0, 1]}}))
    with pytest.raises(AuditError, match="recoverability: is for `gradaudit audit`"):
        read_sweep(path)


def test_the_command_prints_writes_and_tells_json(gradaudit, audit_file, tmp_path):
    code, out, err = gradaudit("recoverability", audit_file(), "--noise", "0,1", "--json", "--out", tmp_path / "found")
    assert (code, err) == (0, "")
    rows = json.loads(out)["recoverability"]
    assert [row["level"] for row in rows] == [0, 1]
    assert rows[0]["mean"] < rows[1]["mean"] == pytest.approx(1, abs=0.05)
    assert all(row["exact"] and row["low"] == row["mean"] == row["high"] and len(row["each"]) == 2 for row in rows)
    page = (tmp_path / "found" / "recoverability.html").read_text()
    assert "What the update determines, without any attack" in page
    assert page.count("<img") == 4
    code, out, err = gradaudit("recoverability", audit_file(), "--noise", "1")
    assert code == 0
    assert re.search(r"no defense +1 +2 +1 +0\.9\d\d .* exact", out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--noise", "much"), "--noise: must be numbers"),
        (("--noise", "-1"), "--noise: must be numbers of at least 0"),
        (("--steps", "0"), "steps: should be greater"),
        (("--open",), "Give its folder with --out"),
        (("--set", "rounds=2"), "Set rounds to 1"),
    ],
)
def test_the_command_says_what_is_wrong(gradaudit, audit_file, arguments, said):
    code, _, err = gradaudit("recoverability", audit_file(), *arguments)
    assert code == 2
    assert said in err


def test_the_page_of_an_audit_has_the_section_and_can_be_written_again(gradaudit, audit_file, tmp_path):
    """Another noise level is computed anew in the same folder, and the same one is not."""
    run, folder = tmp_path / "run", tmp_path / "run" / "recoverability.json"
    for levels, counted in ([0.5], 1), ([0, 0.5], 2):
        path = audit_file(recoverability={"noise": levels})
        assert gradaudit("audit", path, "--out", run)[0] == 0
        assert len(json.loads(folder.read_text())["rows"]) == counted
    first = folder.read_bytes()
    assert gradaudit("audit", path, "--out", run)[0] == 0
    assert folder.read_bytes() == first  # with its computing times
    for path_of_map in (run / "recoverability").iterdir():
        path_of_map.unlink()
    code, _, err = gradaudit("report", run)
    assert code == 2
    assert "run the audit again, which computes it again" in err
    assert gradaudit("audit", path, "--out", run)[0] == 0
    (run / "report.html").unlink()
    assert gradaudit("report", run)[0] == 0
    assert "What the update determines, without any attack" in (run / "report.html").read_text()
    gradaudit("report", run, "--redact", "--out", tmp_path / "copy")
    assert not (tmp_path / "copy" / "recoverability.json").exists()
