"""What an audit file names, turned into values: each refusal is one line with the key and the fix."""

from typing import get_type_hints

import numpy as np
import pytest
import torch

from gradaudit.audit.attack_entry import AttackEntry
from gradaudit.audit.config import make_config
from gradaudit.audit.plan import make_plan
from gradaudit.audit.resolve import make_attack, make_defense, make_device, open_source
from gradaudit.data.modalities import check_inputs
from gradaudit.models import build, build_table, build_text
from gradaudit.values.errors import AuditError
from gradaudit.values.own_code import module_of
from gradaudit.values.types import Batch, TextLayout

CONFIG = {"data": {"source": "npz", "path": "x.npz"}, "model": {"name": "mlp"}, "knowledge": ["priors", "LABELS"]}


def write(path, count=6, **arrays):
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), dtype=np.uint8)
    np.savez(path, images=images, **arrays)


def plan(folder, **changes):
    return make_plan(make_config({**CONFIG, **changes}), folder)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"source": ["npz"]}, r"data.source: unknown source \['npz'\]. Did you mean npz\?"),
        ({"source": None}, "data.source: unknown source None"),
        ({"source": "photograph"}, r"unknown source photograph. Did you mean photographs\?"),
        ({"source": "photographs", "size": True}, "data.size: should be a valid integer. Found True"),
        ({"source": "photographs", "size": "32"}, "data.size: should be a valid integer. Found '32'"),
        ({"source": "photographs", "size": {"a": 1}}, "data.size: should be a valid integer"),
        ({"source": "photographs", "crops": ["all"]}, "data.crops: should be 'all' or 'whole'"),
        ({"source": "npz", "path": 3}, "data.path: "),
        ({"source": "npz"}, "data.path: is missing"),
        ({"source": "npz", "path": "x" * 300}, "data: cannot read .*: File name too long"),
        ({"source": "folder", "path": "x" * 300}, "data: cannot read .*: File name too long"),
        ({"source": "photographs", "batch_size": 10**12}, "data.batch_size: 1000000000000 is more than the"),
        ({"source": "photographs", "batch_size": [1]}, r"data.batch_size: must be a whole number .* Found \[1\]"),
    ],
)
def test_a_source_that_cannot_be(section, message, tmp_path):
    with pytest.raises(AuditError, match=message):
        open_source(section, tmp_path)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"name": ["clip"]}, r"defenses.0.name: unknown defense \['clip'\]"),
        ({}, "defenses.0.name: unknown defense None"),
        ({"name": "clip", "norm": "2"}, "defenses.0.norm: should be a valid number. Found '2'"),
        ({"name": "clip", "norm": True}, "defenses.0.norm: should be a valid number. Found True"),
    ],
)
def test_a_defense_that_cannot_be(entry, message):
    with pytest.raises(AuditError, match=message):
        make_defense(entry, "defenses.0")


@pytest.mark.parametrize("field", ["stages.0.optimiser.lr", "stages.0.optimiser"])
def test_an_optimiser_that_torch_refuses(field, tmp_path):
    new = -1 if field.endswith("lr") else "RMSprop(momentum=-1)"
    with pytest.raises(
        AuditError, match=r"attacks.0.stages.0.optimiser(.lr|: RMSprop.momentum): should be greater .* 0. Found -1"
    ):
        make_attack(AttackEntry(name="inverting-gradients", set={field: new}), tmp_path, "attacks.0")


def test_a_schedule_beyond_all_numbers(tmp_path):
    changes = {"stages.0.optimiser.factor": 1e300, "stages.0.optimiser.milestones": [0, 0]}
    with pytest.raises(AuditError, match=r"attacks.0.stages.0.optimiser: its numbers are out of range"):
        make_attack(AttackEntry(name="inverting-gradients", set=changes), tmp_path, "attacks.0")


def test_an_attack_of_the_users_that_ends_the_program(tmp_path):
    (tmp_path / "own.py").write_text("import sys\nsys.exit('two\\nlines')\n")
    with pytest.raises(AuditError, match=r"own.py:ATTACK cannot be loaded: stopped with SystemExit: two"):
        make_attack(AttackEntry(name="own.py:ATTACK"), tmp_path, "attacks.0")


@pytest.mark.parametrize("name", ["meta", "nonsense", "", "cuda:99999999999999999999", "cpu:x", "hpu", "cpu\nx"])
def test_a_device_that_holds_no_numbers(name):
    with pytest.raises(AuditError, match=r"device: .* cannot be used here: .*\. Choose auto or cpu\."):
        make_device(name)


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_every_seed_of_the_range_can_be_used(seed, tmp_path):
    write(tmp_path / "x.npz")
    attacks = [{"name": "inverting-gradients", "set": {"stages.0.steps": 1}}]
    _, case = plan(tmp_path, seed=seed, repeats=2, attacks=attacks).cases()
    assert len(case.batch) == 1
    seen = case.client.share(case.batch, case.knowledge, seed=seed)
    assert case.attack(seen, seed=seed).inputs.shape == (1, 1, 8, 8)


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 1, 2, 3, 4, 10**12], None, "npz contains the label 1000000000000, which would make a model of"),
        ([0, 1, 2, 3, 4, 7], 5, "data: npz contains the label 7, but the model has 5 classes, from 0 to 4"),
    ],
)
def test_labels_that_no_model_can_have(labels, classes, message, tmp_path):
    write(tmp_path / "x.npz", labels=np.array(labels))
    with pytest.raises(AuditError, match=message):
        plan(tmp_path, model={"name": "mlp", "num_classes": classes})


def test_a_factory_that_builds_other_classes_than_the_file_says(tmp_path):
    write(tmp_path / "x.npz", labels=np.arange(6) % 3)
    net = "from torch import nn\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))\n"
    (tmp_path / "net.py").write_text(net)
    assert plan(tmp_path, model={"factory": "net.py:net", "num_classes": 3}).classes == 3
    with pytest.raises(AuditError, match=r"model.num_classes: is 4, but the model has 3 classes"):
        plan(tmp_path, model={"factory": "net.py:net", "num_classes": 4})


def test_public_labels_are_classes_of_the_model(tmp_path):
    write(tmp_path / "x.npz", labels=np.arange(6) % 2)
    write(tmp_path / "public.npz", labels=np.arange(6))
    public = {"source": "npz", "path": "public.npz"}
    with pytest.raises(AuditError, match="public_data: npz contains the label 5, but the model has 2 classes"):
        plan(tmp_path, public_data=public, knowledge=["priors", "LABELS", "PUBLIC_DATA"])


ROOM = "an audit of this model would need .* of memory"


@pytest.mark.parametrize(
    ("make", "number", "message"),
    [
        (lambda n: build("mlp", num_classes=n, channels=3, size=32), 10**12, ROOM),
        (lambda n: build("mlp", num_classes=n, channels=3, size=32), 10**18, "cannot be built so large|EB of memory"),
        (lambda n: build("mlp", num_classes=n, channels=3, size=32), 10**30, "mlp: cannot be built so large"),
        (lambda n: build("vit-tiny", num_classes=10, channels=n, size=32), 10**12, ROOM),
        (lambda n: build("resnet18", num_classes=n, channels=3, size=32), 10**12, ROOM),
        (lambda n: build("regnet_y_400mf", num_classes=n, channels=3, size=32), 10**15, "torchvision cannot build"),
        (lambda n: build_text("tiny-bert", num_classes=2, layout=TextLayout(n), length=4), 10**12, ROOM),
        (lambda n: build_table("tabular-mlp", num_classes=2, features=n), 10**12, ROOM),
    ],
)
def test_a_model_larger_than_the_machine(make, number, message):
    with pytest.raises(AuditError, match=message):
        make(number)


def test_the_outline_of_a_model_draws_nothing():
    torch.manual_seed(0)
    first = build("lenet", num_classes=3, channels=1, size=8)
    torch.manual_seed(0)
    again = build("lenet", num_classes=3, channels=1, size=8)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    build("lenet", num_classes=3, channels=1, size=8)
    assert torch.equal(next(first.parameters()), next(again.parameters()))
    assert torch.equal(drawn, torch.rand(1))


def test_pictures_of_another_type_are_refused_before_a_model_sees_them():
    batch = Batch(torch.eye(8, dtype=torch.uint8)[None, None], torch.tensor([0]))
    with pytest.raises(AuditError, match=r"batch: images must be floating point in \[0, 1\], not torch.uint8"):
        check_inputs(batch, torch.nn.Identity(), "net")


def test_a_batch_larger_than_the_machine(tmp_path, monkeypatch):
    write(tmp_path / "x.npz")
    monkeypatch.setattr("gradaudit.audit.schedule.require_memory", refuse_examples)
    with pytest.raises(AuditError, match=r"1536 data.batch_size: 6 examples of shape \[1, 8, 8\]"):
        plan(tmp_path, data={**CONFIG["data"], "batch_size": 6})


def test_more_guesses_at_once_than_the_machine_holds(tmp_path):
    write(tmp_path / "x.npz")
    attacks = [{"name": "inverting-gradients", "set": {"seeds": 10**9}}]
    with pytest.raises(
        AuditError, match=r"attacks.0.seeds: 1000000000 examples of shape \[1, 8, 8\] would need 256 GB"
    ):
        plan(tmp_path, attacks=attacks)


def refuse_examples(needed, what, fix):
    raise AuditError(f"{needed} {what}")


def test_two_files_of_one_name_are_two_modules(tmp_path):
    """The annotations of a class are read in the module that its file became."""
    for folder, hint in (("a", "int"), ("b", "str")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(
            f"from __future__ import annotations\nHint = {hint}\nclass Own:\n    field: Hint\n"
        )
    first, second = (module_of(tmp_path / folder / "mine.py").Own for folder in "ab")
    assert get_type_hints(first) == {"field": int}
    assert get_type_hints(second) == {"field": str}
