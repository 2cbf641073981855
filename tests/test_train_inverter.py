"""`gradaudit train inverter`: from an audit file to a file that an audit of the same client uses."""

import json

import numpy as np
import pytest
from PIL import Image

from gradaudit.audit.config import make_config
from gradaudit.audit.plan import make_plan
from gradaudit.commands.train_inverter import inverter
from gradaudit.inversion.run.call import run_attack
from gradaudit.values.errors import AttackFailed, AuditError

FILE = {
    "data": {"source": "npz", "path": "private.npz", "batch_size": 2},
    "public_data": {"source": "npz", "path": "public.npz"},
    "model": {"name": "mlp", "num_classes": 10},
    "defenses": [{"name": "sign"}],
    "knowledge": ["priors", "LABELS", "PUBLIC_DATA", "DEFENSE"],
    "attacks": [{"name": "inverting-gradients", "start": "lti", "set": {"start.steps": 4, "start.width": 8}}],
}


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("private", 4), ("public", 30)):
        images = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(count) % 10)
    (tmp_path / "a.yaml").write_text(json.dumps(FILE))
    return tmp_path


def used(folder, **changes):
    """The adaptive attack of an audit that names the file, and what it sees."""
    entry = {"name": "lti", "set": {"trained": "i.safetensors"}}
    plan = make_plan(make_config({**FILE, "attacks": [entry], **changes}), folder)
    (case,) = plan.cases()
    return case.attack, case.client.share(case.batch, case.knowledge, seed=case.chance, public=case.public)


def test_trains_for_the_client_of_an_audit_file(folder, capsys):
    inverter(folder / "a.yaml", folder / "i.safetensors")
    said = capsys.readouterr().out
    assert "i.safetensors: Trained on 256 simulated updates of 27 public images in" in said
    with Image.open(folder / "i.png") as picture:
        assert picture.size == (16, 16)  # one held-out batch of two above its answer
    assert sorted(path.name for path in folder.glob("i.*")) == ["i.png", "i.safetensors"]
    attack, seen = used(folder)
    found = run_attack(attack, seen)
    assert found.inputs.shape == (2, 3, 8, 8)
    assert found.notes[0] in said
    with pytest.raises(AttackFailed, match="its model has other weights"):
        run_attack(*used(folder, seed=1))
    with pytest.raises(AuditError, match="should be a new file"):
        inverter(folder / "a.yaml", folder / "i.safetensors")


def test_no_time_leaves_no_file(folder):
    with pytest.raises(AttackFailed, match="budget ended before the first step"):
        inverter(folder / "a.yaml", folder / "i.safetensors", minutes=0.0)
    assert not list(folder.glob("i.*"))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("public_data=null", "public_data: is missing"),
        ("data.batch_size=40", "data.batch_size"),
    ],
)
def test_says_what_is_missing(folder, change, why):
    with pytest.raises(AuditError, match=why):
        inverter(folder / "a.yaml", folder / "i.safetensors", changes=[change])
