"""The controls of an attack that found nothing, and the section of the page that says whether it could have worked."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import gradaudit as ga
from gradaudit.audit import assess, positive_control, prior_only, self_check
from gradaudit.audit.captured import make_schedule
from gradaudit.audit.config import make_config
from gradaudit.audit.controls import CLOSED_FORM, within
from gradaudit.execution import Listener, Results, describe_run
from gradaudit.report import feasibility as page
from gradaudit.report import in_lines, render
from gradaudit.report.auditing import carry_out
from gradaudit.report.verdict import Severity
from gradaudit.values.errors import AttackFailed

LONG = 1e9  # seconds: no attack is shortened, so that its result does not depend on the machine
SHORT = replace(
    ga.attacks.INVERTING_GRADIENTS,
    stages=tuple(replace(stage, steps=30) for stage in ga.attacks.INVERTING_GRADIENTS.stages),
)


def linear(classes=10):
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))


def smooth():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Sigmoid(), nn.Flatten(), nn.Linear(256, 10))


def dead():
    """A network through which nothing comes back: its first layer sees the sign of the mean alone."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 10))


def private(size=2):
    generator = torch.Generator().manual_seed(3)
    return ga.Batch(torch.rand(size, 1, 8, 8, generator=generator), torch.arange(size))


def test_an_update_that_must_leak_leaks_in_closed_form():
    client = ga.Client(linear(), ga.FedAvg(learning_rate=0.1, epochs=3), (ga.defenses.GaussianNoise(1.0),))
    found = positive_control(client, private())
    assert (found.attack, found.recovered, found.examples, found.why_not) == (CLOSED_FORM, 1, 1, "")
    assert found.gain > 50


def test_without_a_closed_form_a_short_attack_runs():
    assert positive_control(ga.Client(smooth()), private(), seconds=0.01).attack == "inverting-gradients-fast"
    few = replace(ga.attacks.DLG, stages=(replace(ga.attacks.DLG.stages[0], steps=15),))
    easy = positive_control(ga.Client(smooth()), private(), attack=few, seconds=LONG)
    assert (easy.attack, easy.recovered) == ("dlg", 1)
    hopeless = positive_control(ga.Client(dead()), private(), attack=few, seconds=LONG)
    assert (hopeless.recovered, hopeless.examples) == (0, 1)


def test_the_prior_alone_recovers_nothing():
    alone = prior_only(ga.Client(smooth()), private(), SHORT, seconds=LONG)
    assert (alone.why_not, alone.recovered, alone.examples) == ("", 0, 2)
    assert alone.gain < 1
    assert len(alone.gains) == 2
    assert sum(alone.gains) / 2 == pytest.approx(alone.gain)


def test_the_prior_alone_sees_neither_the_update_nor_the_labels():
    client, batch = ga.Client(smooth()), private()
    before = prior_only(client, batch, SHORT, seconds=LONG)
    far = replace(client, training=ga.FedAvg(learning_rate=5.0))
    after = prior_only(far, replace(batch, labels=batch.labels + 5), SHORT, seconds=LONG)
    assert before.score == after.score


def test_an_attack_without_priors_says_so():
    def closed(seen, *, seed=0, watch=None):
        raise AssertionError

    closed.name, closed.needs = "closed", ga.Knowledge.NOTHING
    found = prior_only(ga.Client(linear()), private(), closed)
    assert "closed is not composed of an objective and priors" in found.why_not


def test_an_attack_is_shortened_to_the_time():
    seen = ga.Client(smooth()).share(private(), ["priors", "LABELS"])
    long = ga.attacks.INVERTING_GRADIENTS
    assert within(long, seen, 1e9) == long
    assert within(long, seen, 0.05).stages[0].steps < 200
    assert within(long, seen, 0).stages[0].steps == 1


class Round:
    """A folder with the files of one round, and the audit file of what is declared."""

    def __init__(self, folder):
        self.folder, self.net, self.batch = folder, smooth(), private()
        folder.joinpath("nets.py").write_text(
            "from torch import nn\n\ndef build():\n"
            "    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Sigmoid(), nn.Flatten(), nn.Linear(256, 10))\n"
        )
        torch.save(self.net.state_dict(), folder / "r0.pt")
        pixels = (self.batch.inputs[:, 0] * 255).round().byte().numpy()
        self.batch = replace(self.batch, inputs=torch.from_numpy(pixels).float().div(255).unsqueeze(1))
        np.savez(folder / "truth.npz", images=pixels, labels=self.batch.labels.numpy())

    def plan(self, client, **declared):
        torch.save(dict(client.train(self.batch).tensors), self.folder / "u.pt")
        raw = {
            "update": {"path": "u.pt", "before": "r0.pt", "kind": "gradient"},
            "data": {"source": "npz", "path": "truth.npz", "batch_size": 2},
            "model": {"factory": "nets.py:build", "mean": [0.5], "std": [0.5]},
            "knowledge": ["priors", "LABELS"],
            "attacks": [{"name": "inverting-gradients", "set": {"stages.0.steps": 4}}],
            **declared,
        }
        return make_schedule(make_config(raw), self.folder)


def audited(plan, out):
    results = Results(out, describe_run([plan], "An audit"))
    return carry_out([plan], results, Listener())


@pytest.fixture
def quick(monkeypatch):
    """Controls of a fraction of a second."""
    assess_one = page.assessment_of
    monkeypatch.setattr(page, "assessment_of", lambda schedule: assess_one(schedule, seconds=1.0))


@pytest.mark.usefixtures("quick")
def test_a_captured_update_of_another_normalisation_is_explained_on_the_page(tmp_path):
    found = Round(tmp_path)
    plan = found.plan(ga.Client(found.net))
    run = audited(plan, tmp_path / "run")
    text = run.page.read_text()
    assert "Could this attack have worked here?" in text
    assert "No: the attacks assumed another training than that of the client." in text
    assert "Fix: set model.mean: [0] and model.std: [1]." in text
    assert text.index("so that a result of nothing means nothing") < text.index("Reconstructions</h2>")
    assert "Positive control: from the gradient of one of these examples alone" in text
    assert "Prior-only control: inverting-gradients without the update" in text
    assert "Grey band: from the control to what the priors of inverting-gradients reach without the update" in text
    assert "No attack was adapted to the defense" not in text  # none is declared
    told = in_lines(run.findings, run.folder)
    assert told[0].startswith("u.pt: ")
    assert told[1] == "Could this attack have worked here? " + page.feasibility_of(run.folder)[0].headline
    assert told[-1] == "Fix: set model.mean: [0] and model.std: [1]."
    leaked = [replace(run.verdicts[0], level=Severity.RECOGNISABLE)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradaudit.report.verdicts", lambda *_: leaked)
        assert not any("have worked here" in line for line in in_lines(run.findings, run.folder))
    (kept,) = page.read_assessments(run.folder)
    assert kept.assessment.self_check.causes[0].name == "normalisation"


@pytest.mark.usefixtures("quick")
def test_a_captured_update_as_declared_could_have_worked(tmp_path, monkeypatch):
    found = Round(tmp_path)
    plan = found.plan(ga.Client(found.net, normalisation=ga.Normalisation((0.5,), (0.5,))))
    run = audited(plan, tmp_path / "run")
    (entry,) = page.feasibility_of(run.folder)
    assert entry.headline.startswith(("Yes: the assumptions", "Perhaps not: even an update that must leak"))
    assert entry.lines[0].startswith("The declared training on the true batch gives the observed update")
    assert not entry.fixes
    assert not entry.doubt
    copy = run.write(tmp_path / "copy").read_text()
    assert "Could this attack have worked here?" in copy
    monkeypatch.setattr(page, "assessment_of", lambda schedule: pytest.fail("it was assessed before"))
    audited(plan, tmp_path / "run")


def test_a_simulated_client_has_no_such_section(tmp_path):
    client = ga.Client(linear())
    run = ga.run(client, private(1), "idlg", "priors", out=tmp_path / "run")
    assert not (run.folder / page.FILE).exists()
    assert "Could this attack have worked here?" not in run.page.read_text()


def test_without_the_examples_nothing_is_assessed(tmp_path):
    found = Round(tmp_path)
    update = {"path": "u.pt", "before": "r0.pt", "kind": "gradient", "batch_size": 2, "input_shape": [1, 8, 8]}
    plan = found.plan(ga.Client(found.net), update={**update, "labels": [0, 1]}, data={})
    page.assess_into(tmp_path, [plan])
    assert not (tmp_path / page.FILE).exists()


def test_no_sentence_holds_a_label():
    client, batch = ga.Client(smooth()), replace(private(), labels=torch.tensor([8, 5]))
    for labels in ([5, 8], [7, 9], [9, 6]):
        sent = client.train(replace(batch, labels=torch.tensor(labels)))
        found = self_check(client, batch, sent)
        assert [one.name for one in found.causes] == ["label-order"]
        told = [sentence for one in found.tried if one.name == "label-order" for sentence in (one.sentence, one.fix)]
        assert not set("56789") & set(" ".join(told))


def test_a_damaged_file_is_one_line(tmp_path):
    (tmp_path / page.FILE).write_text('[{"client": 3}]')
    run = describe_run([Round(tmp_path).plan(ga.Client(smooth()))], "An audit")
    with pytest.raises(ga.AuditError, match=r"feasibility\.json: is damaged: 0\.client"):
        render([], run, tmp_path)


def test_why_there_is_no_check_is_said():
    client, batch = ga.Client(linear()), private()
    empty = client.train(batch)
    empty = replace(empty, tensors={name: torch.zeros_like(tensor) for name, tensor in empty.tensors.items()})
    found = assess(client, batch, empty, seconds=0.4)
    assert found.self_check is None
    assert "zero in every value" in found.problem
    entry = page._entry("u.pt", found)
    assert (entry.tone, entry.headline) == ("unknown", "This cannot be said.")


def test_a_control_that_fails_says_why(monkeypatch):
    def fails(*_, **__):
        raise AttackFailed("it has no slope.")

    monkeypatch.setattr("gradaudit.audit.controls.run_attack", fails)
    found = positive_control(ga.Client(smooth()), private())
    assert found.why_not == "it has no slope."
    assert "could not run. it has no slope." in page._positive(found)[0]
