"""Files of trained networks: what is refused, and what identifies a result that one of them made."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from conftest import linear_net, make_batch, smooth_net
from gradaudit import Client, FedAvg, Knowledge, Level
from gradaudit.attacks import ATTACKS, with_generator
from gradaudit.attacks._inverter_file import client_facts
from gradaudit.attacks._simulated_client import SimulatedClient
from gradaudit.attacks.lti import ATTACK as LTI
from gradaudit.audit.asset_files import located
from gradaudit.audit.config import make_config
from gradaudit.audit.generator_control import generator_note
from gradaudit.audit.plan import make_plan
from gradaudit.commands.training_run import Request, _source
from gradaudit.inversion.parts.parametrisations.features import onto_l1_ball
from gradaudit.inversion.parts.part import Progress
from gradaudit.inversion.parts.priors.auto_encoder_error import AutoEncoderError
from gradaudit.inversion.parts.priors.head_features import HeadFeatures
from gradaudit.inversion.run.adaptive import Adaptive
from gradaudit.inversion.run.denoised import Denoised
from gradaudit.inversion.run.keeper import Keeper
from gradaudit.inversion.run.started import Started
from gradaudit.models.assets import KEY, save_asset
from gradaudit.models.auto_encoders.conv_auto_encoder import ConvAutoEncoder
from gradaudit.models.auto_encoders.trained_auto_encoder import AutoEncoder
from gradaudit.models.generators.dcgan import DCGAN
from gradaudit.models.generators.trained_generator import Generator
from gradaudit.models.generators.untrained import Untrained
from gradaudit.models.trained import by_content
from gradaudit.values.errors import AttackFailed, AuditError

SIZES = DCGAN(channels=1, size=8, latent=4, width=4)


def generator(path, change=lambda value: value, seed=0, **settings):
    """Write a generator whose floating-point tensors have changed."""
    weights = Untrained(SIZES, seed).open()[0].state_dict()
    changed = {name: change(value) if value.is_floating_point() else value for name, value in weights.items()}
    save_asset(path, "generator", "dcgan", {**SIZES.settings, **settings}, {"data": "toys"}, changed)
    return Generator(str(path))


def encoder(path, seed=0):
    torch.manual_seed(seed)
    facts = {"held_out": {"error": 0.02}}
    sizes = ConvAutoEncoder(3, 8, 4)
    save_asset(path, "auto-encoder", "conv-auto-encoder", sizes.settings, facts, sizes.build().state_dict())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda value: value * float("nan"), "holds values that are NaN or infinite"),
        (lambda value: value / 0, "holds values that are NaN or infinite"),
        (lambda value: value.round().to(torch.int8), "holds integers"),
        (lambda value: value * 0, "one image of all latent vectors"),
    ],
)
def test_weights_with_which_no_search_can_succeed_are_refused(tmp_path, change, said):
    with pytest.raises(AttackFailed, match=said):
        generator(tmp_path / "g.safetensors", change).open()


def test_a_description_that_cannot_be_followed_is_an_error(tmp_path):
    with pytest.raises(AttackFailed, match="its tensors do not fit"):
        generator(tmp_path / "g.safetensors", width=2**20).open()
    save_file({"x": torch.ones(1)}, tmp_path / "deep.safetensors", {KEY: "[" * 100_000})
    with pytest.raises(AttackFailed, match=r"description in deep\.safetensors is damaged"):
        Generator(str(tmp_path / "deep.safetensors")).open()


def test_a_result_belongs_to_the_contents_of_every_file_wherever_it_lies(tmp_path):
    (tmp_path / "other").mkdir()
    inverter = tmp_path / "i.safetensors"
    inverter.write_bytes(b"1")
    lti = replace(LTI, trained=str(inverter))

    def values(folder):
        ggl = with_generator(ATTACKS["ggl"], str(folder / "g.safetensors"))
        stage = ATTACKS["inverting-gradients"].stages[0]
        term = replace(stage.terms[0], prior=AutoEncoderError(AutoEncoder(str(folder / "ae.safetensors"))))
        prior = replace(ATTACKS["inverting-gradients"], stages=(replace(stage, terms=(term,)),))
        attacks = ggl, prior, Adaptive(ggl), Denoised(prior), Started(ATTACKS["inverting-gradients"], ggl), lti
        return [repr(by_content(attack)) for attack in (*attacks, Adaptive(lti))]

    for folder in (tmp_path, tmp_path / "other"):
        generator(folder / "g.safetensors")
        encoder(folder / "ae.safetensors")
    before = values(tmp_path)
    assert values(tmp_path / "other") == before
    assert not any(str(tmp_path) in value for value in before)
    assert before[2].startswith("Adaptive(")
    assert before[6].startswith("Adaptive(")
    generator(tmp_path / "g.safetensors", seed=1)
    encoder(tmp_path / "ae.safetensors", seed=1)
    inverter.write_bytes(b"2")
    assert not set(values(tmp_path)) & set(before)


def test_an_audit_and_a_checkpoint_are_of_the_contents_of_their_files(tmp_path, monkeypatch):
    encoder(tmp_path / "ae.safetensors")
    entry = {"name": "gi-pip", "set": {"stages.0.terms.1.prior.network.source": "ae.safetensors"}}
    config = make_config(
        {
            "data": {"source": "photographs", "size": 8},
            "model": {"name": "mlp", "num_classes": 10},
            "knowledge": ["data-distribution", "LABELS"],
            "attacks": [entry],
        }
    )
    torch.manual_seed(0)
    seen = Client(linear_net(10, 192)).share(make_batch(1, 3, 8), Level.BASIC)

    def identities():
        plan = make_plan(config, tmp_path)
        kept = Keeper.of(tmp_path / "x", plan.attacks[0][1], [seen], [0])
        return json.dumps(plan.identity(), default=str), plan.trial(0, 0), kept.identity

    before = identities()
    monkeypatch.chdir(tmp_path)
    assert identities() == before
    assert str(tmp_path) not in before[0]
    encoder(tmp_path / "ae.safetensors", seed=1)
    assert all(new != old for new, old in zip(identities(), before, strict=True))


def test_an_inverter_for_updates_of_known_length_is_another_one():
    torch.manual_seed(0)
    client = Client(smooth_net(5, 1, 4), FedAvg(learning_rate=0.1))
    seen = client.share(make_batch(1, 1, 4, 5), Level.BASIC)
    whole = SimulatedClient.of(seen, 1)
    assert client_facts(whole) != client_facts(replace(whole, scaled=not whole.scaled))


def test_a_ball_of_features_that_are_not_numbers_has_none():
    found = onto_l1_ball(torch.tensor([[torch.nan, 1.0, 2.0], [3.0, 4.0, 5.0]]), 1.0)
    assert found[0].isnan().any()
    assert torch.equal(found[1], torch.tensor([0.0, 0.0, 1.0]))


def test_features_are_compared_under_soft_labels_and_of_diverged_candidates():
    torch.manual_seed(0)
    batch = make_batch(3, 1, 8, 5)
    seen = Client(smooth_net(5, 1, 8)).share(batch, Level.BASIC | Knowledge.LABELS)
    soft = replace(seen, labels=torch.nn.functional.one_hot(batch.labels, 5).float())
    hard, found = (HeadFeatures().bind(one)(batch.inputs + 0.1, Progress(0, 1)) for one in (seen, soft))
    assert hard > 1e-4
    assert torch.allclose(hard, found)
    assert HeadFeatures().bind(seen)(batch.inputs * torch.nan, Progress(0, 1)).isnan()


def test_a_start_with_a_generator_has_its_control_too():
    torch.manual_seed(0)
    batch = make_batch(1, 1, 8, 5)
    client = Client(smooth_net(5, 1, 8))
    start = with_generator(ATTACKS["ggl"], Untrained(SIZES))
    for attack in (start, Started(ATTACKS["inverting-gradients"], start)):
        (note,) = generator_note(attack, batch, lambda: client.share(batch, Level.DATA_DISTRIBUTION))
        assert note.startswith("The generator alone")
    assert generator_note(ATTACKS["inverting-gradients"], batch, lambda: client.share(batch, Level.BASIC)) == ()


def test_training_on_the_data_of_an_audit_file_is_no_silent_choice(tmp_path, capsys):
    file = tmp_path / "audit.yaml"
    file.write_text("data: {source: photographs, size: 8, batch_size: 2}")
    _source(Request(str(file), tmp_path / "g.safetensors", None, 1, None, 4, False, 0, "cpu"))
    assert "measures its memory, not the leak" in " ".join(capsys.readouterr().err.split())


def test_a_missing_inverter_is_said_before_anything_runs(tmp_path):
    with pytest.raises(AuditError, match=r"no file at .*none\.safetensors\. `gradaudit train inverter`"):
        located(replace(LTI, trained="none.safetensors"), tmp_path, "attacks.0")
