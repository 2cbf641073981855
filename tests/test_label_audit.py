"""`gradaudit labels`: every method on the client that an audit file describes."""

import json

import numpy as np
import pytest
import yaml

from gradaudit.audit.label_audit import METHODS

CONFIG = {
    "data": {"source": "photographs", "size": 16, "batch_size": 6},
    "model": {"name": "mlp", "num_classes": 10},
    "knowledge": ["basic"],
    "attacks": [],
    "repeats": 3,
}


@pytest.fixture
def audit_file(tmp_path):
    def write(**changes):
        path = tmp_path / "audit.yaml"
        path.write_text(yaml.safe_dump({**CONFIG, **changes}))
        return path

    return write


def read(result):
    code, out, err = result
    assert code == 0, err
    return {method["name"]: method for method in json.loads(out)["methods"]}


def test_every_method_answers_or_says_why_not(gradaudit, audit_file):
    methods = read(gradaudit("labels", audit_file(), "--json"))
    assert tuple(methods) == METHODS
    for method in methods.values():
        measures = [method[key] for key in ("existence", "counts", "recall")]
        if method["applies"]:
            assert method["why_not"] is None
            for measure in measures:
                assert set(measure) == {"mean", "low", "high", "n"}
                assert 0 <= measure["mean"] <= 1
                assert measure["n"] == 3
        else:
            assert method["why_not"]
            assert measures == [None] * 3
    assert methods["bias-counts"]["recall"]["mean"] > 0.95
    assert methods["gradinversion"]["recall"]["mean"] < methods["bias-counts"]["recall"]["mean"]
    assert "PUBLIC_DATA" in methods["hfgradinv"]["why_not"]
    assert "one example" in methods["idlg"]["why_not"]


def test_one_batch_has_no_bounds(gradaudit, audit_file):
    found = read(gradaudit("labels", audit_file(repeats=1), "--json", "--method", "bias-counts"))
    assert list(found) == ["bias-counts"]
    assert found["bias-counts"]["recall"]["low"] is None


def test_public_data_is_granted_by_its_flag(gradaudit, audit_file, tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "public.npz", images=pictures, labels=np.arange(60) % 10)
    public = {"source": "npz", "path": "public.npz"}
    found = read(gradaudit("labels", audit_file(knowledge=["basic", "PUBLIC_DATA"], public_data=public), "--json"))
    assert found["hfgradinv"]["applies"]
    assert found["rlu"]["applies"]
    code, _, err = gradaudit("labels", audit_file(public_data=public))
    assert code == 2
    assert "knowledge lacks PUBLIC_DATA" in err


def test_noise_hides_the_labels(gradaudit, audit_file):
    noisy = audit_file(defenses=[{"name": "gaussian-noise", "std": 10.0}])
    found = read(gradaudit("labels", noisy, "--json", "--method", "bias-counts", "--method", "ilrg"))
    assert max(method["recall"]["mean"] for method in found.values() if method["applies"]) < 0.75


def test_the_screen_and_the_list(gradaudit, audit_file):
    code, out, _ = gradaudit("labels", audit_file())
    assert code == 0
    assert "bias-counts" in out
    code, out, _ = gradaudit("labels")
    assert code == 0
    assert "gradinversion" in out
    code, _, err = gradaudit("labels", audit_file(), "--method", "ilgr")
    assert code == 2
    assert "Did you mean ilrg?" in err
