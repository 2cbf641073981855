"""Detectors of received models: fixtures from the papers' formulas, honest models, and what cannot be judged."""

import json
import logging
import math
import warnings
from types import SimpleNamespace

import pytest
import torch
from benchmarks.modified_models import FIXTURES, before, changed, honest_mlp, honest_transformer
from torch import nn

from gradaudit import Normalisation
from gradaudit.capture.flower import model_check_mod
from gradaudit.capture.model_guard import ModelGuard, ModelRefused
from gradaudit.capture.writing import write_capture
from gradaudit.client.detectors import DETECTORS
from gradaudit.client.detectors.attention_outliers import outliers, projections
from gradaudit.client.detectors.bias_grid import grid
from gradaudit.client.detectors.dead_units import flat_shares
from gradaudit.client.detectors.spectrum_shift import shift
from gradaudit.client.detectors.trap_weights import paired
from gradaudit.client.detectors.twin_rows import twins
from gradaudit.client.exact_yield import exact_yield, quotients_of
from gradaudit.client.model_check import CAUTION, check_model
from gradaudit.client.received import SAMPLED, digest_of, received
from gradaudit.inspection import batch_risk
from gradaudit.inspection.tracing import runnable
from gradaudit.models import build
from gradaudit.values.errors import AuditError

ALONE = {
    "imprint, mean": {"twin-rows", "bias-grid"},
    "imprint, random vector": {"twin-rows", "bias-grid"},
    "LOKI": {"twin-rows", "bias-grid"},
    "PEFTLeak": {"twin-rows", "bias-grid"},
    "trap weights": {"trap-weights"},
    "class fishing": {"zeroed-head"},
    "feature fishing": {"zeroed-head"},
    "Decepticons": {"attention-outliers", "zeroed-head"},
    "QBI-like biases": set(),
    "class-inflated loss": set(),
    "gradient suppression": set(),
}
WITH_BATCH = {
    "imprint, mean": {"architecture-difference"},
    "imprint, random vector": {"architecture-difference"},
    "LOKI": {"architecture-difference"},
    "PEFTLeak": {"spectrum-shift"},
    "class fishing": {"d-snr", "loss-jump"},
    "Decepticons": {"spectrum-shift"},
    "class-inflated loss": {"gradient-concentration", "d-snr"},
    "gradient suppression": {"dead-units"},
}


def pictures(seed=0, count=20):
    """Images of different brightness, so that a linear measurement tells them apart."""
    generator = torch.Generator().manual_seed(seed)
    light = torch.rand(count, 1, 1, 1, generator=generator)
    return light * torch.rand(count, 3, 16, 16, generator=generator)


def quantised(value):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch will give up these types
        return torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)


def alarms(check):
    return {one.detector for one in check.alarms}


def judged(check):
    return {one.detector: one.alarm for one in check.detections}


@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_fixture_shows_exactly_its_signs(name, seed):
    data = pictures(seed)
    model, last = FIXTURES[name](data, seed), before(name, data, seed)
    assert alarms(check_model(received(model))) == ALONE[name]
    full = received(model, model.state_dict(), before=last, inputs=data[:8], labels=torch.arange(8))
    by_chance = {"d-snr"} if name == "feature fishing" else set()  # where the feature is off for all but one example
    assert alarms(check_model(full)) - by_chance == ALONE[name] | WITH_BATCH.get(name, set())


@pytest.mark.parametrize("make", [honest_mlp, honest_transformer, "lenet"])
def test_honest_models_raise_no_alarm(make):
    for seed in (0, 1):
        torch.manual_seed(seed)
        side = 32 if isinstance(make, str) else 16
        net = build(make, num_classes=10, channels=3, size=side) if isinstance(make, str) else make(seed)
        moved = changed(net, lambda _, v: v + 1e-2 * v.std().nan_to_num() * torch.randn_like(v))
        x = torch.rand(8, 3, side, side)
        check = check_model(received(net, moved.state_dict(), before=net, inputs=x, labels=torch.arange(8)))
        assert alarms(check) == set()
        assert check.lines[-1] == CAUTION
        assert check.verdict.startswith("No alarm by")


# Numbers by hand.


def test_twins():
    vector = torch.randn(64)
    assert twins(vector * torch.tensor([1.0, -3.0, 1e-4])[:, None]) == (1.0, pytest.approx(1.0))
    apart = torch.eye(4, 64)
    assert twins(apart) == (0.0, pytest.approx(0.25))
    apart[1] = 1e3 * apart[0]
    share, energy = twins(apart)
    assert (share, energy) == (0.5, pytest.approx(0.5))  # a long row counts like a short one
    assert twins(torch.zeros(3, 64)) == (0.0, 0.0)


def test_grid():
    quantiles = torch.special.ndtri((torch.arange(50) + 0.5) / 50)
    assert grid(3 - 2 * quantiles) == (1.0, pytest.approx(1.0))
    assert grid(torch.zeros(50)) == (0.0, 0.0)
    assert grid(torch.tensor([0.0, 1.0] * 25))[0] == pytest.approx(25 / 49)


def test_pairs():
    size = torch.rand(6, 32) + 0.1
    rows = torch.cat([-size, 0.95 * size], 1)
    assert paired(rows[:, torch.randperm(64)]) == 1
    assert paired(torch.cat([-size, size], 1)) == 0  # a ratio of 1 is no sign
    assert paired(torch.cat([size, 0.95 * size], 1)) == 0  # no negative entries
    assert paired(torch.cat([rows, torch.randn(6, 64)])) == 0.5


def test_spectra():
    square = torch.eye(40, 64)
    assert shift(square, 5 * square) == 0
    one = torch.zeros(40, 64)
    one[0, 0] = 1
    assert shift(square, one) == pytest.approx(39 / 40)


def test_outliers():
    weight = torch.zeros(32, 32)
    assert outliers(weight, None) == (1.0, 0.0)
    assert outliers(weight, torch.ones(32)) == (1.0, math.inf)
    weight[0, 0] = 2
    assert outliers(weight, None) == (pytest.approx(1 - 1 / 1024), pytest.approx(32))


def test_projections_by_their_usual_names():
    wide, tall = torch.randn(96, 32), torch.randn(32, 96)
    names = {"a.in_proj_weight": wide, "b.qkv.weight": wide, "c.c_attn.weight": tall, "d.q_proj.weight": wide[:32]}
    found = [name for name, _, _ in projections(SimpleNamespace(weights={**names, "e.fc.weight": wide}))]
    assert found == [f"{name} ({part})" for name in list(names)[:3] for part in "QKV"] + ["d.q_proj.weight"]


@pytest.mark.parametrize(
    ("act", "bias", "share"), [(nn.ReLU(), -9, 1), (nn.ReLU(), 9, 0), (nn.Sigmoid(), 40, 1), (torch.tanh, 0, 0)]
)
def test_units_at_a_bound(act, bias, share):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 16)

        def forward(self, x):
            return act(self.layer(x))

    net = Net()
    nn.init.constant_(net.layer.bias, bias)
    assert flat_shares(received(net, inputs=torch.rand(3, 4))) == [share]


# What cannot be judged is no all-clear.


def test_a_small_model_cannot_be_judged():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.GELU(), nn.Linear(8, 3))
    check = check_model(received(net))
    assert set(judged(check).values()) == {None}
    assert check.verdict == "The received model cannot be judged."
    assert all(one.sentence.startswith("Cannot be judged: ") for one in check.detections)


def test_what_a_detector_lacks():
    net, x = honest_mlp(), pictures()[:4]
    alone = judged(check_model(received(net)))
    assert {name for name, alarm in alone.items() if alarm is None} == {
        "architecture-difference",  # nothing to compare it with
        "attention-outliers",
        "d-snr",
        "dead-units",
        "gradient-concentration",
        "loss-jump",
        "model-inconsistency",
        "spectrum-shift",
    }
    assert judged(check_model(received(net, inputs=x)))["dead-units"] is False
    assert judged(check_model(received(net, inputs=x)))["d-snr"] is None
    one = judged(check_model(received(net, inputs=x[:1], labels=torch.tensor([1]))))
    assert one["d-snr"] is one["gradient-concentration"] is None
    other = nn.Sequential(nn.Flatten(), nn.Linear(768, 128), nn.ReLU(), nn.Linear(128, 9))
    check = judged(check_model(received(net, before=other, inputs=x, labels=torch.arange(4))))
    assert check["loss-jump"] is None
    assert check["architecture-difference"] is True
    assert check["spectrum-shift"] is False  # of the layer that both have


def test_a_batch_that_the_model_fits_is_not_judged_by_the_d_snr():
    data = pictures()
    net = before("class-inflated loss", data, 0)
    check = judged(check_model(received(net, inputs=data[:8], labels=torch.arange(8))))
    assert (check["d-snr"], check["gradient-concentration"]) == (None, False)


def test_a_loss_that_was_as_high_before_is_no_jump():
    data = pictures()
    bad, batch = FIXTURES["class fishing"](data), {"inputs": data[:8], "labels": torch.arange(8)}
    assert judged(check_model(received(bad, before=bad, **batch)))["loss-jump"] is False
    assert judged(check_model(received(bad, before=honest_mlp(), **batch)))["loss-jump"] is True
    assert judged(check_model(received(honest_mlp(), before=bad, **batch)))["loss-jump"] is False


def test_frozen_parameters_have_no_gradient():
    net = honest_mlp().requires_grad_(False)
    check = judged(check_model(received(net, inputs=pictures()[:4], labels=torch.arange(4))))
    assert check["d-snr"] is check["gradient-concentration"] is None


def test_another_architecture_raises_an_alarm_and_is_not_run():
    net, other = honest_mlp(), nn.Sequential(nn.Flatten(), nn.Linear(768, 64), nn.ReLU(), nn.Linear(64, 10))
    given = received(net, other.state_dict(), inputs=pictures()[:4], labels=torch.arange(4))
    check = check_model(given)
    assert (given.model, exact_yield(given)) == (None, None)
    assert alarms(check) == {"architecture-difference"}
    assert "1.weight has shape [64, 768] instead of [128, 768]" in check.alarms[0].sentence
    assert judged(check)["dead-units"] is None
    assert judged(check)["twin-rows"] is False
    more = {**net.state_dict(), "imprint.weight": torch.zeros(2, 2)}
    assert "imprint.weight is new" in check_model(received(net, more)).alarms[0].sentence


def test_a_head_that_is_zero_as_a_whole_is_a_usual_start():
    net = honest_mlp()
    nn.init.zeros_(net[-1].weight)
    assert alarms(check_model(received(net))) == set()
    net[-1].weight.data[:4] = 1
    assert alarms(check_model(received(net))) == {"zeroed-head"}


def test_half_of_the_rows_must_be_honest_for_an_imprint_to_pass():
    for share, seen in ((0.4, True), (0.6, False)):
        net = FIXTURES["imprint, mean"](pictures())
        rows = torch.randperm(128)[: round(share * 128)]
        net[1].first.weight.data[rows] = torch.randn(len(rows), 768)
        net[1].last.weight.data = torch.randn(768, 128)
        check = judged(check_model(received(net)))
        assert check["twin-rows"] is seen
        assert check["bias-grid"] is True


def test_the_server_does_not_know_the_rows_that_are_compared():
    net = nn.Linear(64, 900)
    first, second = received(net), received(net)
    rows = first.rows_of("weight")
    assert len(rows) == SAMPLED
    assert bool((rows.diff() > 0).all())
    assert not torch.equal(rows, second.rows_of("weight"))
    assert torch.equal(received(net, seed=3).rows_of("weight"), received(net, seed=3).rows_of("weight"))


# Other clients and other numbers.


def test_other_clients():
    net = honest_mlp()
    mine = received(net).digest
    assert mine == digest_of(dict(net.double().state_dict()))
    assert mine != received(honest_mlp(1)).digest
    assert judged(check_model(received(net.float(), digests={"a": mine.upper()})))["model-inconsistency"] is False
    found = check_model(received(net, digests={"a": mine, "b": "0" * 64}))
    assert "b received another one" in found.alarms[0].sentence
    with pytest.raises(AuditError, match="digest of a: should be 64 hexadecimal digits"):
        received(net, digests={"a": "12"})


def test_half_precision_is_judged_in_single_precision():
    net = FIXTURES["trap weights"](pictures())
    assert alarms(check_model(received(net.bfloat16().float()))) <= {"trap-weights"}
    half = FIXTURES["imprint, random vector"](pictures()).half()
    given = received(half, inputs=pictures()[:8], labels=torch.arange(8))
    assert alarms(check_model(given)) >= {"twin-rows"}
    assert {value.dtype for value in given.weights.values()} == {torch.float32}
    assert half[2].weight.dtype == torch.float16


def test_bad_weights():
    net = honest_mlp()
    state = net.state_dict()
    coarse = quantised(state["1.weight"])
    for value, says in (
        (coarse, "1.weight: it is quantised"),
        (coarse.int_repr(), "1.weight: it is quantised"),
        (state["1.weight"] * torch.nan, "1.weight: it contains NaN"),
        (state["1.weight"] + 1j, "1.weight: it is complex"),
        ("text", "1.weight: it is no array"),
    ):
        with pytest.raises(AuditError, match=says):
            received(net, {**state, "1.weight": value})
    with pytest.raises(AuditError, match="has no values yet"):
        received(nn.LazyLinear(3))
    with pytest.raises(AuditError, match="it has no parameters"):
        received(nn.ReLU())
    with pytest.raises(AuditError, match="model: it cannot take one example of the batch"):
        check_model(received(net, inputs=torch.rand(2, 3), labels=torch.arange(2)))


def test_a_positional_list_has_the_names_of_the_model():
    net = honest_mlp()
    arrays = {f"arr_{place}": value.numpy() for place, value in enumerate(net.state_dict().values())}
    given = received(net, arrays)
    assert list(given.weights) == list(net.state_dict())
    assert given.model is not None


def test_the_model_and_its_mode_are_not_changed():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(1568, 10))
    old = {name: value.clone() for name, value in net.state_dict().items()}
    x = pictures()[:4]
    kept = x.clone()
    check_model(received(net, before=net, inputs=x, labels=torch.arange(4)))
    assert net.training
    assert torch.equal(x, kept)
    assert all(torch.equal(old[name], value) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


# The yardstick.


def test_what_would_have_left():
    data = pictures()
    for name in ("imprint, mean", "LOKI"):
        found = exact_yield(received(FIXTURES[name](data), inputs=data[:8], labels=torch.arange(8)))
        assert (found.inputs, found.gives) == (8, "examples")
        assert found.found >= 6  # two of eight may share one of 128 bins
        assert f"{found.found} of 8 examples would have left exactly through" in found.sentence
    dead = exact_yield(received(FIXTURES["gradient suppression"](data), inputs=data[:8], labels=torch.arange(8)))
    assert dead.found == 0


def test_no_fewer_leave_than_own_a_unit():
    """The count of the static inspection, from which units are active, bounds the count from the gradient."""
    net, data = FIXTURES["QBI-like biases"](pictures()), pictures()[:8]
    found = exact_yield(received(net, inputs=data, labels=torch.arange(8)))
    assert found.found >= len(batch_risk(runnable(net), data, torch.arange(8)).exact) >= 4


def test_quotients_by_hand():
    """Two inputs in two bins: the first unit holds both, the second one alone, and their difference the other one."""
    first, second = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 5.0])
    weight = torch.stack([2 * first + 4 * second, 4 * second])
    rows = quotients_of(weight, torch.tensor([6.0, 4.0]), torch.tensor([1.0, 0.0]))
    assert {tuple(row.tolist()) for row in rows} >= {(1.0, 2.0), (3.0, 5.0)}


def test_the_normalisation_is_that_of_the_client():
    norm = Normalisation((0.5,), (0.25,))
    given = received(honest_mlp(), inputs=pictures()[:2], normalisation=norm)
    assert torch.equal(given.inputs, (pictures()[:2] - 0.5) / 0.25)


# In a federation.


def message(state, kind="train"):
    arrays = {name: SimpleNamespace(numpy=value.numpy, shape=value.shape) for name, value in state.items()}
    content = SimpleNamespace(array_records={"arrays": arrays}, config_records={})
    return SimpleNamespace(content=content, metadata=SimpleNamespace(message_type=kind), has_content=lambda: True)


class State(dict):
    """Flower's state of a client, as far as the mod uses it."""

    @property
    def array_records(self):
        return dict(self)


def test_the_mod_calls_the_app_only_without_an_alarm():
    called, seen = [], []
    data = pictures()
    mod = model_check_mod(honest_mlp, batch=lambda _: (data[:8], torch.arange(8)), report=seen.append)
    context = SimpleNamespace(state=State())

    def app(msg, ctxt):
        called.append(msg)
        return "reply"

    assert mod(message(honest_mlp().state_dict()), context, app) == "reply"
    assert judged(seen[0])["loss-jump"] is None
    assert mod(message(honest_mlp().state_dict()), context, app) == "reply"
    assert judged(seen[1])["loss-jump"] is judged(seen[1])["spectrum-shift"] is False  # against the round before
    bad = FIXTURES["trap weights"](data).state_dict()
    with pytest.raises(ModelRefused, match=r"^gradaudit: the client does not train on this model\.$"):
        mod(message(bad), context, app)
    assert len(called) == 2
    assert mod(message(bad, "evaluate.default"), context, app) == "reply"
    with pytest.raises(ModelRefused, match="does not train"):
        mod(message({}), context, app)


def test_a_guard_that_only_warns(caplog):
    guard = ModelGuard(honest_mlp, refuse=False)
    arrays = {name: value.numpy() for name, value in FIXTURES["trap weights"](pictures()).state_dict().items()}
    with caplog.at_level(logging.WARNING):
        assert guard.check(arrays, None) is False
        assert guard.check({**arrays, "1.bias": arrays["1.bias"] * float("nan")}, None) is False
    assert "trap-weights: The weights of 1.weight come in pairs" in caplog.text
    assert "cannot be checked: 1.bias: it contains NaN" in caplog.text
    with pytest.raises(AuditError, match="model: should be a function that builds your model"):
        ModelGuard(honest_mlp())
    with pytest.raises(ModelRefused, match="does not train") as refused:
        ModelGuard(honest_mlp, batch=lambda _: 1 / 0).check(arrays, None)
    assert "batch: the function failed" in str(refused.value.__cause__)


# The command.

NETS = """
from torch import nn
def net(): return nn.Sequential(nn.Flatten(), nn.Linear(192, 40), nn.ReLU(), nn.Linear(40, 5))
"""


@pytest.fixture
def files(tmp_path):
    """Weights of an honest model, the same with an imprint, and with one more layer."""
    (tmp_path / "own.py").write_text(NETS)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 40), nn.ReLU(), nn.Linear(40, 5))
    good = {name: value.clone() for name, value in net.state_dict().items()}
    quantiles = torch.special.ndtri((torch.arange(40) + 0.5) / 40)
    bad = {**good, "1.weight": torch.full((40, 192), 1e-2), "1.bias": -quantiles}
    torch.save(good, tmp_path / "good.pt")
    torch.save(bad, tmp_path / "bad.pt")
    torch.save({**good, "extra.weight": torch.ones(3, 3)}, tmp_path / "more.pt")
    torch.save({**good, "1.weight": quantised(good["1.weight"])}, tmp_path / "q.pt")
    for number, state in ((1, good), (2, bad)):
        write_capture(
            tmp_path / f"round-{number}.safetensors",
            {name: value + torch.randn_like(value) for name, value in state.items()},  # shows no sign
            kind="weights",
            round=number,
            node=1,
            examples=4,
            order=list(state),
            before=state,
        )
    return tmp_path


def test_the_command_on_received_weights(gradaudit, files):
    asked = ("inspect", "--model", "own.py:net", "--input-shape", "3x8x8")
    code, out, err = gradaudit(*asked, "--received", "good.pt", "--weights", "good.pt", "--json")
    assert (code, err) == (0, "")
    clean = json.loads(out)["received"]
    assert clean["caution"] == CAUTION
    code, out, err = gradaudit(
        *asked, "--received", "bad.pt", "--data", "photographs", "--client-digest", f"b={'0' * 64}"
    )
    assert (code, err) == (1, "")
    screen = " ".join(out.split())
    assert "Do not train on this model: 3 of" in screen
    assert "would have left exactly through 1." in screen
    assert CAUTION in screen
    code, out, _ = gradaudit(*asked, "--received", "round-2.safetensors", "--weights", "round-1.safetensors", "--json")
    found = {one["detector"]: one["alarm"] for one in json.loads(out)["received"]["detections"]}
    assert (code, found["twin-rows"], found["spectrum-shift"]) == (1, True, True)  # the global weights of two captures
    code, out, _ = gradaudit(*asked, "--received", "more.pt", "--json")
    found = {one["detector"]: one["alarm"] for one in json.loads(out)["received"]["detections"]}
    assert (code, found["architecture-difference"], found["twin-rows"]) == (1, True, False)


def test_the_command_on_weights_alone_and_beside_an_update(gradaudit, files):
    asked = ("inspect", "--model", "own.py:net", "--input-shape", "3,8,8")
    assert gradaudit(*asked, "--weights", "good.pt")[0] == 0
    code, out, _ = gradaudit(*asked, "--weights", "bad.pt", "--json")
    assert code == 1
    assert json.loads(out)["received"]["verdict"].startswith("Do not train")
    code, out, _ = gradaudit(*asked[:3], "round-2.safetensors", *asked[3:], "--out", "run")
    html = (files / "run/inspection.html").read_text()
    assert code == 1
    for text in (out, html):
        assert "The received model" in text
        assert "twin-rows" in text
    assert CAUTION in html


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--received", "nothing.pt"), "no file at nothing.pt"),
        (("--received", "q.pt"), "--received: 1.weight is quantised"),
        (("--received", "good.pt", "--noise", "0"), "--noise: is for the architecture alone"),
        (("--received", "good.pt", "--client-digest", "b"), "--client-digest: must be NAME=DIGEST"),
        (("--received", "good.pt", "--client-digest", "b=1"), "digest of b: should be 64 hexadecimal digits"),
        (("round-1.safetensors", "--received", "good.pt"), "--received: is for the architecture alone"),
    ],
)
def test_errors_of_the_command(gradaudit, files, arguments, says):
    code, out, err = gradaudit("inspect", "--model", "own.py:net", "--input-shape", "3,8,8", *arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1


def test_the_table_of_detectors(gradaudit):
    code, out, _ = gradaudit("detectors")
    assert code == 0
    assert len(DETECTORS) == 12
    assert all(name in out and kind.paper and kind.sign != "" for name, kind in DETECTORS.items())
