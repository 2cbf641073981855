"""Every public name, used as a caller uses it; mypy reads this file (tests/test_typed.py), and a test runs it."""

from pathlib import Path
from types import ModuleType
from typing import Any, assert_type

import torch

import gradaudit as ga
from gradaudit.attacks.dlg import ATTACK as dlg  # noqa: N811
from gradaudit.client.participant import SharedUpdate
from gradaudit.execution.trial import Job
from gradaudit.protocol.defenses import Defense
from gradaudit.report.verdict import Verdict
from gradaudit.report.worst_values import WorstValue
from gradaudit.values.finding import RunRecord
from gradaudit.values.scores import Score, Scores
from gradaudit.values.types import UpdateKind


class Black:
    """An attack of the caller's own."""

    name = "black"
    needs = ga.Knowledge.BATCH_SIZE

    def __call__(
        self, seen: ga.Observation, *, seed: int = 0, watch: Any = None, keep: Path | None = None
    ) -> ga.Reconstruction:
        assert_type(seen.labels, torch.Tensor | None)
        assert_type(seen.batch_size, int | None)
        assert_type(seen.update, ga.Update)
        return ga.Reconstruction(torch.zeros(seen.batch_size or 1, *seen.input_shape), None, objective=0.0)


class Counter(ga.Listener[ga.Finding]):
    """A listener of the caller's own."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def begin(self, job: Job, number: int, total: int) -> None:
        assert_type(job.title, str)

    def end(self, finding: ga.Finding, number: int, total: int) -> None:
        self.done.append(finding.attack)


def make_client() -> ga.Client:
    """A client with every kind of option."""
    training = ga.FedSGD(batch_norm="eval")
    assert_type(training, ga.LocalTraining)
    assert_type(ga.FedAvg(learning_rate=0.1, epochs=2), ga.LocalTraining)
    assert_type(training.kind, UpdateKind)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 10))
    normalisation = ga.Normalisation((0.5,), (0.25,))
    client = ga.Client(model, training, (ga.defenses.Clip(1e9),), normalisation)
    assert_type(client.defenses, tuple[Defense, ...])
    together = ga.SecureAggregation(model, ga.LocalTraining(), sizes=(1, 1))
    assert_type(together.sizes, tuple[int, ...])
    return client


def share(client: ga.Client, batch: ga.Batch) -> ga.Observation:
    """What a client shares, by flags and by names."""
    facts = ga.Level.PRIORS | ga.Knowledge.LABELS
    assert_type(facts, ga.Knowledge)
    assert_type(ga.level("priors"), ga.Knowledge)
    assert_type(client.train(batch), ga.Update)
    shared = client.prepare(batch)
    assert_type(shared, SharedUpdate)
    assert_type(shared.show(["priors", "LABELS"]), ga.Observation)
    return client.share(batch, facts, seed=1)


def attack(seen: ga.Observation, batch: ga.Batch) -> Scores:
    """Attacks are values."""
    assert_type(ga.attacks.DLG, ga.Attack)
    assert_type(dlg, ga.GradientMatching)
    assert_type(ga.adaptive(dlg).needs, ga.Knowledge)
    assert_type(ga.attacks.ATTACKS["dlg"], ga.Attack)
    guess = dlg(seen)
    assert_type(guess, ga.Reconstruction)
    scores = ga.audit.score(batch, guess)
    assert_type(scores, Scores)
    assert_type(scores.psnr, Score)
    return scores


def run(client: ga.Client, batch: ga.Batch, folder: Path) -> ga.Run:
    """From Python to the page."""
    listener = Counter()
    told: ga.Listener[ga.Finding] = listener
    own: ga.Attack = Black()
    found = ga.run(client, [batch], [own, "dlg"], ["priors", ga.Knowledge.LABELS], out=folder, listener=told)
    assert_type(found, ga.Run)
    assert_type(found.findings, tuple[ga.Finding, ...])
    assert_type(found.record, RunRecord)
    assert_type(found.verdicts, tuple[Verdict, ...])
    assert_type(found.page, Path)
    assert_type(found.write(folder / "copy"), Path)
    assert_type(found.to_records(), list[dict[str, Any]])
    assert_type(found.findings[0].gain, tuple[float, ...])
    assert_type(found.fails("psnr-gain=100dB"), tuple[WorstValue, ...])
    ga.assert_no_leak(found, psnr_gain_db=100)
    return found


def refused() -> str:
    """What a caller did wrong is one sentence."""
    try:
        ga.level("nonsense")
    except ga.AuditError as error:
        return str(error)
    except ga.AttackFailed:
        raise
    return ""


def rooms() -> list[ModuleType]:
    """Every room is a module."""
    first: list[ModuleType] = [ga.attacks, ga.audit, ga.capture, ga.client, ga.commands, ga.comparison, ga.data]
    second: list[ModuleType] = [ga.execution, ga.inspection, ga.inversion, ga.metrics, ga.models, ga.report]
    assert_type(ga.__version__, str)
    return [*first, *second, ga.defenses, ga.protocol, ga.studies, ga.values]


def everything(folder: Path) -> ga.Run:
    """All of the above, once."""
    torch.manual_seed(0)
    client, batch = make_client(), ga.Batch(torch.rand(1, 3, 4, 4), torch.tensor([3]))
    attack(share(client, batch), batch)
    return run(client, batch, folder)
