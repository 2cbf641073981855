from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradaudit import LocalTraining, SecureAggregation
from gradaudit.audit.config import make_config
from gradaudit.audit.demo import demo_configs
from gradaudit.audit.judge import audit
from gradaudit.audit.plan import draw, make_plan
from gradaudit.data.modalities.images import to_channels
from gradaudit.execution import difference
from gradaudit.values import memory
from gradaudit.values.errors import AuditError

CONFIG = {
    "data": {"source": "photographs", "size": 16, "batch_size": 2},
    "model": {"name": "mlp", "num_classes": 10},
    "knowledge": ["priors", "LABELS"],
    "attacks": ["inverting-gradients"],
}


def plan(tmp_path, **changes):
    return make_plan(make_config({**CONFIG, **changes}), tmp_path)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 20), st.integers(0, 2**31))
def test_draws_without_replacement_and_other_batches(count, batch_size, repeat, seed):
    batch_size = min(batch_size, count)
    drawn = draw(count, batch_size, repeat, seed)
    assert len(set(drawn)) == batch_size
    assert set(drawn) <= set(range(count))
    assert drawn == draw(count, batch_size, repeat, seed)
    per_round = count // batch_size
    earlier = [draw(count, batch_size, r, seed) for r in range(repeat - repeat % per_round, repeat)]
    assert not any(set(drawn) & set(other) for other in earlier)


def test_the_network_depends_on_the_seed_alone(tmp_path):
    first, again, other = (plan(tmp_path, seed=seed).client.model.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_control_and_the_gallery_leave_the_batch_out(tmp_path):
    for case in plan(tmp_path, repeats=2).cases():
        gallery = {picture.numpy().tobytes() for picture in case.distractors}
        assert not any(picture.numpy().tobytes() in gallery for picture in case.batch.inputs)
        torch.testing.assert_close(case.control, case.distractors.mean(0), atol=1e-5, rtol=0)


def test_labels_of_a_source_without_any_are_indices(tmp_path):
    (case,) = plan(tmp_path).cases()
    names = plan(tmp_path).source.picture_names
    assert case.batch.labels.tolist() == [names.index(name) % 10 for name in case.picture_names]
    assert "index modulo 10" in case.notes[0]


@pytest.mark.parametrize(("channels", "mean"), [(1, (0.5,)), (3, (0.485, 0.456, 0.406))])
def test_channels_and_normalisation(tmp_path, channels, mean):
    made = plan(tmp_path, model={"name": "mlp", "channels": channels})
    (case,) = made.cases()
    assert case.batch.inputs.shape == (2, channels, 16, 16)
    assert made.client.normalisation.mean == mean


def test_to_channels():
    colour = torch.rand(2, 3, 4, 4)
    assert to_channels(colour, 3) is colour
    torch.testing.assert_close(to_channels(colour, 1)[:, 0], colour.mean(1))
    assert to_channels(colour[:, :1], 3).shape == (2, 3, 4, 4)


def test_two_channels_cannot_be_made(tmp_path):
    with pytest.raises(AuditError, match="cannot convert images of 3 channels to 2 input channels"):
        plan(tmp_path, model={"name": "mlp", "channels": 2})


FEDAVG = {
    "kind": "fedavg",
    "learning_rate": 0.01,
    "epochs": 2,
    "minibatch_size": 1,
    "optimiser": "adam",
    "betas": [0.8, 0.9],
    "eps": 1e-6,
    "weight_decay": 0.1,
    "shuffle": True,
    "drop_last": True,
    "dropout": True,
    "batch_norm": "train",
    "share_buffers": True,
    "shared": ["*.weight"],
    "update": "gradient",
}


def test_every_key_of_local_training_arrives(tmp_path):
    training = plan(tmp_path, training=FEDAVG).client.training
    wanted = {k: tuple(value) if isinstance(value, list) else value for k, value in FEDAVG.items() if k != "kind"}
    assert {key: getattr(training, key) for key in wanted} == wanted
    assert all(value != getattr(LocalTraining(), key) for key, value in wanted.items())


def test_several_clients_share_one_update(tmp_path):
    data = {**CONFIG["data"], "batch_size": 1}
    made = plan(tmp_path, data=data, clients=3, training={"kind": "fedavg", "learning_rate": 0.1}, repeats=2)
    first, second = made.cases()
    assert isinstance(made.client, SecureAggregation)
    assert made.client.sizes == (1, 1, 1)
    assert len(first.batch) == made.batch_size == 3
    assert not torch.equal(first.batch.inputs, second.batch.inputs)
    assert "mean over 3 clients with 1 example each" in " ".join(first.notes)
    assert made.client.share(first.batch, first.knowledge).clients == (1, 1, 1)
    attack = replace(first.attack, stages=tuple(replace(stage, steps=2) for stage in first.attack.stages))
    finding = audit(replace(first, attack=attack)).finding
    assert len(finding.scores.psnr.per_example) == 3
    assert "sizes=(1, 1, 1)" in finding.client_value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clients": 1000}, "clients: 1000 need 2000 examples"),
        ({"training": {"shared": ["nothing"]}}, "training.shared: nothing matches none of the trainable parameters"),
    ],
)
def test_refuses_training_that_does_not_fit(tmp_path, changes, message):
    with pytest.raises(AuditError, match=message):
        plan(tmp_path, **changes)


def test_identity_names_what_changed(tmp_path):
    before, now = (
        plan(tmp_path, **changes).identity() for changes in ({}, {"seed": 3, "defenses": [{"name": "clip", "norm": 2}]})
    )
    assert difference(before, before) == ""
    text = difference(before, now)
    assert "seed was 0, is 3" in text
    assert "defenses" in text


def test_training_reaches_the_client(tmp_path):
    training = {"kind": "fedavg", "epochs": 2, "minibatch_size": 1, "learning_rate": 0.1, "batch_norm": "train"}
    made = plan(tmp_path, training=training).client.training
    assert (made.epochs, made.minibatch_size, made.learning_rate, made.batch_norm) == (2, 1, 0.1, "train")


def test_the_demo_is_the_same_audit_twice(tmp_path):
    plain, defended = demo_configs(3)
    assert plain.model_copy(update={"defenses": defended.defenses}) == defended
    plans = [make_plan(config, tmp_path, number=i) for i, config in enumerate((plain, defended))]
    first, second = (next(iter(p.cases())) for p in plans)
    assert torch.equal(first.batch.inputs, second.batch.inputs)
    assert first.key != second.key


def test_real_data_and_trained_weights(tmp_path, shared_data):
    made = plan(
        tmp_path,
        data={"source": "npz", "path": str(shared_data / "cifar10_test.npz"), "batch_size": 4},
        model={"name": "resnet20", "weights": str(shared_data / "weights/cifar10_resnet20.npz")},
    )
    (case,) = made.cases()
    logits = case.client.model.eval()(case.client.normalisation.apply(case.batch.inputs))
    assert made.classes == 10
    assert (logits.argmax(1) == case.batch.labels).float().mean() >= 0.5


def test_later_rounds_draw_other_batches():
    """Once the source is used up it is shuffled anew: no batch comes again in the same order, and runs differ."""
    rounds = [
        [tuple(draw(40, 10, 4 * number + slot, seed)) for slot in range(4)] for number in range(5) for seed in (0, 1)
    ]
    drawn = [batch for batches in rounds for batch in batches]
    assert len(set(drawn)) == len(drawn)
    assert all(sorted(i for one in batches for i in one) == list(range(40)) for batches in rounds)


def test_public_data_that_does_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    """The model and the private batch fit, the public pictures beside them do not."""
    images = np.random.default_rng(0).integers(0, 256, (1000, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "p.npz", images=images, labels=np.zeros(1000, dtype=int))
    changes = {"knowledge": ["priors", "LABELS", "PUBLIC_DATA"], "public_data": {"source": "npz", "path": "p.npz"}}
    assert plan(tmp_path, **changes)
    monkeypatch.setattr(memory, "memory_here", lambda: 3_000_000)
    assert plan(tmp_path)
    with pytest.raises(AuditError, match=r"^public_data: 1000 examples of shape \[3, 16, 16\] would need 3 MB"):
        plan(tmp_path, **changes)
