"""A long attack that is stopped goes on where it stood."""

from dataclasses import replace

import pytest
import torch

from conftest import make_batch, smooth_net
from gradaudit import Client, Knowledge, Level
from gradaudit.attacks import ATTACKS
from gradaudit.inversion import keeper
from gradaudit.inversion.gradient_transforms import Noise
from gradaudit.inversion.priors import L2
from properties import short

KNOWN = Level.BASIC | Knowledge.LABELS
SHORT = short(ATTACKS["inverting-gradients"], 30)
STAGE = SHORT.stages[0]
CASES = {
    "one stage": SHORT,
    "random numbers": replace(SHORT, stages=(replace(STAGE, gradient=(Noise(0.1),)),)),
    "two stages": replace(SHORT, stages=(STAGE, replace(STAGE, terms=()))),
    "restarts": replace(SHORT, restarts=3, together=False),
    "several seeds": replace(SHORT, seeds=2, together=False),
    "L-BFGS and labels": short(ATTACKS["dlg"], 8),
}


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("at", [5, 33])
def test_the_same_comes_out(tmp_path, monkeypatch, name, at):
    attack = CASES[name]
    torch.manual_seed(0)
    seen = Client(smooth_net()).share(
        make_batch(2 if name != "L-BFGS and labels" else 1), KNOWN & attack.needs | Level.BASIC
    )
    told = []

    def stop(done, total, value):
        told.append(done)
        if len(told) == at:
            raise StoppedError

    monkeypatch.setattr(keeper, "SECONDS", 0.0)
    expected = attack(seen, seed=3)
    try:
        attack(seen, seed=3, watch=stop, keep=tmp_path / "run")
    except StoppedError:
        assert list(tmp_path.glob("run-*.pt"))
    before = len(told)
    found = attack(seen, seed=3, watch=lambda *news: told.append(news[0]), keep=tmp_path / "run")
    torch.testing.assert_close(found.inputs, expected.inputs)
    assert found.trace == expected.trace
    if before == at and at > 5:
        assert len(told) - before < sum(map(len, expected.trace)) - 3
    assert not list(tmp_path.iterdir())


def test_the_file_of_another_run_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "SECONDS", 0.0)
    torch.manual_seed(0)
    seen = Client(smooth_net()).share(make_batch(2), KNOWN)

    def stop(done, total, value):
        if done == 9:
            raise StoppedError

    with pytest.raises(StoppedError):
        SHORT(seen, seed=1, watch=stop, keep=tmp_path / "run")
    other = replace(SHORT, stages=(replace(STAGE, terms=(replace(STAGE.terms[0], prior=L2()),)),))
    torch.testing.assert_close(other(seen, seed=1, keep=tmp_path / "run").inputs, other(seen, seed=1).inputs)
