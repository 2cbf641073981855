"""NVFlare's own filters as defenses, and its real simulator with the capture filter last."""

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from small import RATE, net, plain, private, trained

from gradaudit import Batch, Client, FedAvg, Update
from gradaudit.audit.config import make_config
from gradaudit.audit.plan import make_plan
from gradaudit.capture.nvflare import CaptureFilter, action_of
from gradaudit.client.defending import defended
from gradaudit.protocol.defenses import DEFENSES, Scene
from gradaudit.protocol.defenses.nvflare_filters import (
    NvflareExcludeVars,
    NvflarePercentilePrivacy,
    NvflareSvtPrivacy,
    apply_filter,
)
from gradaudit.protocol.local_training import CrossEntropy
from gradaudit.values.discovery import example_of
from gradaudit.values.errors import AuditError

HERE = Path(__file__).parent


def update():
    torch.manual_seed(0)
    return Update({"conv.weight": torch.randn(20, 30), "fc.bias": torch.randn(7), "scale": torch.tensor(9.0)})


def read(path):
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


# Defenses through NVFlare's own code.


@pytest.mark.parametrize("defense", [example_of(kind) for kind in DEFENSES.values() if kind.requires], ids=repr)
def test_a_filter_is_a_defense_like_others(defense):
    before = update()
    after = defense(before)
    assert list(after.tensors) == list(before.tensors)
    assert [value.dtype for value in after.values] == [value.dtype for value in before.values]
    assert eval(repr(defense), {type(defense).__name__: type(defense)}) == defense
    candidate = tuple(value.clone().requires_grad_() for value in before.values)
    simulated = defense.simulate(candidate, after.values)
    assert torch.autograd.grad(sum(value.sum() for value in simulated), candidate)
    farther, raw = (
        sum(float((one - o).square().sum()) for one, o in zip(ours, after.values, strict=True))
        for ours in (simulated, before.values)
    )
    assert farther <= raw


def test_percentile_privacy_cuts_and_clips_all_tensors_together():
    before = update()
    after = NvflarePercentilePrivacy(percentile=50, gamma=0.8)(before)
    sizes = torch.cat([value.abs().flatten() for value in before.values])
    cut = np.percentile(sizes.double().numpy(), 50)
    for old, new in zip(before.values[:2], after.values[:2], strict=True):
        expected = torch.where(old.abs() < cut, 0.0, old).clamp(-0.8, 0.8)
        torch.testing.assert_close(new, expected)
    assert after.tensors["scale"] == 9  # scalars pass
    steps = NvflarePercentilePrivacy(percentile=0, gamma=0.1, steps=5)(before)
    assert steps.tensors["fc.bias"].abs().max() == pytest.approx(0.5)


@pytest.mark.parametrize(
    "defense",
    [NvflarePercentilePrivacy(gamma=0), NvflarePercentilePrivacy(percentile=120), NvflareExcludeVars(("fc",))],
    ids=repr,
)
def test_silent_no_ops_are_reported(defense):
    client = Client(plain(), FedAvg(learning_rate=RATE), [defense])
    x, y = private(0)
    assert client.protected(Batch(x, y))[1] == (defense,)


def test_svt_shares_a_fraction_and_the_client_seeds_it():
    defense = NvflareSvtPrivacy(fraction=0.2, gamma=1.0, tau=0.1, epsilon=1.0, noise_var=1e9, replace=False)
    before = replace(update(), tensors={"w": torch.randn(2000)})
    nothing = torch.zeros(0)
    scene = Scene(plain(), nothing, nothing, CrossEntropy())
    once, again, other = (defended([defense], before, scene, seed)[0].values[0] for seed in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
    assert 0 < (once != 0).double().mean() <= 0.2
    shared = once != 0  # almost without noise: the entries themselves, clipped
    torch.testing.assert_close(once[shared], before.values[0][shared].clamp(-1, 1))


def test_excluded_tensors_are_gone():
    after = NvflareExcludeVars("^conv")(update())
    assert [bool(value.any()) for value in after.values] == [False, True, True]
    assert list(apply_filter(NvflareExcludeVars(("fc.bias",)).filter(), {"fc.bias": np.ones(2), "w": np.ones(1)})) == [
        "w"
    ]


def test_an_audit_file_names_a_filter():
    text = {
        "data": {"source": "photographs", "size": 8},
        "model": {"name": "lenet"},
        "knowledge": ["priors"],
        "attacks": [{"name": "dlg"}],
        "defenses": [{"name": "nvflare-exclude-vars", "exclude_vars": ["0.weight", "0.bias"]}],
    }
    plan = make_plan(make_config(text), HERE)
    assert plan.client.defenses == (NvflareExcludeVars(("0.weight", "0.bias")),)


# The simulator.


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    """Folders of one run of the simulator: `inner` before PercentilePrivacy, `outer` after it, last."""
    folder = tmp_path_factory.mktemp("nvflare")
    words = [sys.executable, str(HERE / "run_nvflare.py"), str(folder)]
    done = subprocess.run(words, timeout=300, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def test_the_simulator_captured_every_round_and_site(captures):
    expected = [f"round-{number}-node-site-{site}.safetensors" for number in (0, 1) for site in (1, 2)]
    for side in ("inner", "outer"):
        assert sorted(path.name for path in (captures / side).glob("round-*")) == expected


def test_the_last_filter_sees_what_leaves(captures):
    for path in (captures / "inner").glob("round-*"):
        (raw, facts), (left, known) = read(path), read(captures / "outer" / path.name)
        assert (facts["kind"], facts["direction"], facts["before"]) == ("difference", "after-minus-before", "")
        assert max(float(value.abs().max()) for value in left.values() if value.ndim) <= 1e-3 * (1 + 1e-6)
        assert max(float(value.abs().max()) for value in raw.values() if value.ndim) > 1e-2
        assert left["0.1.num_batches_tracked"] == 1  # the number of local steps leaves through the filter
        assert (captures / "outer" / known["before"]).exists()


def test_the_capture_is_the_difference_of_the_training(captures):
    raw, _ = read(captures / "inner" / "round-1-node-site-2.safetensors")
    known = read(captures / "outer" / "round-1-node-site-2.safetensors")[1]
    before, _ = read(captures / "outer" / known["before"])  # the model of NVFlare's server in this round
    model = net()
    model.load_state_dict(before)
    after = trained(model, 2).state_dict()
    for name, value in raw.items():
        torch.testing.assert_close(value.double(), (after[name] - before[name]).double(), atol=1e-6, rtol=1e-4)


# The filter without the simulator.


def test_an_audit_that_fails_does_not_stop_the_filter(tmp_path, caplog):
    data = {"w": np.ones(3)}
    with caplog.at_level(logging.WARNING):
        left = apply_filter(CaptureFilter(str(tmp_path), audit="math:sqrt"), data)
    assert left["w"].tolist() == [1, 1, 1]
    assert "was captured, but not audited: TypeError" in caplog.text
    with pytest.raises(AuditError, match="audit: math:nothing should name a function"):
        CaptureFilter(str(tmp_path), audit="math:nothing")
    assert action_of("audit.yaml") == "audit.yaml"
