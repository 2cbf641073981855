"""A long attack that is stopped goes on where it stood, whatever kind of attack it is and whatever lies on the disk."""

import io
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_batch, smooth_net
from gradaudit import Client, Knowledge, Level, Reconstruction
from gradaudit.attacks import ATTACKS
from gradaudit.attacks.gias import SMALL
from gradaudit.attacks.mgia import ATTACK as MGIA
from gradaudit.inversion.parts.gradient_transforms import Noise
from gradaudit.inversion.parts.optimisers import Adam, CmaEs
from gradaudit.inversion.parts.parametrisations import Features, GeneratorWeights, Latent
from gradaudit.inversion.parts.part import Stage
from gradaudit.inversion.parts.priors import L2
from gradaudit.inversion.run import keeper
from gradaudit.inversion.run.call import accepts_keep, run_attack, run_attack_on_all
from gradaudit.inversion.run.gradient_matching import GradientMatching
from gradaudit.inversion.run.keeper import Keeper
from gradaudit.values.errors import AuditError, AuditWarning
from properties import short
from test_mgia import brief, private, two_networks
from test_tableak import ensemble, few_rows

KNOWN = Level.BASIC | Knowledge.LABELS | Knowledge.GENERATOR
SHORT = short(ATTACKS["inverting-gradients"], 12)
STAGE = SHORT.stages[0]
LATENT = Latent(SMALL, kld=0.1)
POPULATION = Stage(LATENT, CmaEs(population=4), steps=3)
FEATURES = Stage(Features(SMALL, 0, 1.0), Adam(), steps=3)
WEIGHTS = Stage(GeneratorWeights(SMALL), Adam(lr=0.01), steps=3)
CASES = {
    "one stage": SHORT,
    "every gradient exact": replace(SHORT, step="exact"),
    "random numbers": replace(SHORT, stages=(replace(STAGE, gradient=(Noise(0.1),)),)),
    "two stages": replace(SHORT, stages=(STAGE, replace(STAGE, terms=()))),
    "a best iterate long past": replace(SHORT, stages=(replace(STAGE, optimiser=Adam(lr=3.0), gradient=(), terms=()),)),
    "restarts": replace(SHORT, restarts=3, together=False),
    "restarts in one pass": replace(SHORT, restarts=3, together=True),
    "several seeds": replace(SHORT, seeds=2, together=False),
    "L-BFGS and labels": short(ATTACKS["dlg"], 8),
    "a generator": replace(short(ATTACKS["grnn"], 8), restarts=2),
    "an ensemble in one pass": ensemble(3, 8),
    "an ensemble, one after another": replace(ensemble(3, 8), attack=replace(ensemble(3, 8).attack, together=False)),
    "two updates": brief(MGIA, 6),
    "a population, then features": replace(SHORT, stages=(POPULATION, FEATURES)),
    "latent vectors, then weights": replace(SHORT, stages=(replace(SHORT.stages[0], parametrisation=LATENT), WEIGHTS)),
}


def share(name):
    torch.manual_seed(0)
    if name == "two updates":
        return two_networks(0).share(private(0)[0], Level.BASIC)
    if "ensemble" in name:
        return few_rows()
    size = 1 if name in ("L-BFGS and labels", "a generator") else 2
    return Client(smooth_net()).share(make_batch(size), KNOWN & CASES[name].needs | Level.BASIC)


def stopping(at):
    """A watch that presses Ctrl-C when it is told for the `at`-th time, and how often it was told."""
    told = []

    def watch(done, total, value):
        told.append(done)
        if len(told) == at:
            raise KeyboardInterrupt

    return watch, told


def assert_equal(found, expected):
    """Bit for bit."""
    for one, other in zip(*((each if isinstance(each, tuple) else (each,)) for each in (found, expected)), strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.labels, other.labels)
        assert (one.trace, one.objective, one.notes) == (other.trace, other.objective, other.notes)


@pytest.mark.parametrize("name", CASES)
def test_the_same_comes_out(tmp_path, monkeypatch, name):
    """After two interruptions, one early and one late."""
    monkeypatch.setattr(keeper, "SECONDS", 0.0)
    attack, seen = CASES[name], share(name)
    watch, told = stopping(0)
    expected, keep = attack(seen, seed=3, watch=watch), tmp_path / "kept" / "run"
    whole = len(told)
    count = 0
    for part in (0.2, 0.7):
        watch, told = stopping(max(2, round(part * whole)))
        with pytest.raises(KeyboardInterrupt):
            attack(seen, seed=3, watch=watch, keep=keep)
        assert list(tmp_path.glob("kept/run-*.pt"))
        count += len(told)
    watch, again = stopping(0)
    assert_equal(attack(seen, seed=3, watch=watch, keep=keep), expected)
    assert len(again) <= whole - count + 4  # a step that was interrupted is done again
    keeper.forget(keep)
    assert not list(tmp_path.iterdir())


def test_what_is_done_is_kept_until_it_is_safe(tmp_path, monkeypatch):
    seen = share("one stage")
    expected = SHORT(seen, seed=1, keep=tmp_path / "run")
    watch, told = stopping(0)
    assert_equal(SHORT(seen, seed=1, watch=watch, keep=tmp_path / "run"), expected)
    assert not told  # no step is done again
    keeper.clear(tmp_path)
    assert not tmp_path.exists()


SEEN = share("one stage")
EXPECTED = SHORT(SEEN, seed=1)


def kept(folder):
    """The path of a run on the disk."""
    SHORT(SEEN, seed=1, keep=folder / "run")
    return folder / "run-0.pt"


def assert_starts_anew(path, complaint=""):
    """It is computed again, the warning names the file, and the file lies aside."""
    with pytest.warns(AuditWarning, match=f"{re.escape(str(path))}: cannot be resumed.*{complaint}") as told:
        found = SHORT(SEEN, seed=1, keep=path.with_name("run"))
    assert "\n" not in str(told[0].message)
    assert_equal(found, EXPECTED)
    assert path.with_name(f"{path.name}.damaged").exists()


WHOLE = []


@given(st.data())
def test_any_damage_is_seen(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("kept") / "run-0.pt"
    if not WHOLE:
        WHOLE.append(kept(path.parent).read_bytes())
    raw = bytearray(WHOLE[0])
    kind = data.draw(st.sampled_from(["cut", "flip", "grow"]))
    at = data.draw(st.integers(0, len(raw) - 1))
    if kind == "cut":
        raw = raw[:at]
    elif kind == "flip":
        raw[at] ^= data.draw(st.integers(1, 255))
    else:
        raw += b"\0" * (at + 1)
    path.write_bytes(raw)
    with pytest.warns(AuditWarning, match="damaged"):
        assert Keeper.of(path.with_name("run"), SHORT, [SEEN], [1]).resume(lambda state: state) is None
    assert [entry.name for entry in path.parent.iterdir()] == ["run-0.pt.damaged"]


def saved(path, **changes):
    """A file that is whole, of this run and by this torch, but for `changes`."""
    own = Keeper.of(path.with_name("run"), SHORT, [SEEN], [1])
    held = torch.load(io.BytesIO(path.read_bytes().split(b"\n", 2)[2]), weights_only=True)
    own.save({**held, **changes})


WRONG = {
    "another stage": {"stage": 4},
    "a step that does not exist": {"step": 13},
    "text for a number": {"step": "many"},
    "other shapes": {"leaves": [torch.zeros(1, 2, 1, 9, 9)]},
    "other kinds": {"leaves": [torch.zeros(1, 2, 1, 8, 8, dtype=torch.float64)]},
    "no tensors": {"leaves": None},
    "no optimiser": {"optimiser": {}},
    "curves of nothing": {"curves": [[["a", "b"]]]},
    "other restarts": {"curves": [[], []]},
    "no schedule": {"schedule": 3},
    "sparse scores": {"scores": torch.ones(2).to_sparse()},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_does_not_fit_is_set_aside(tmp_path, name):
    path = kept(tmp_path)
    saved(path, **WRONG[name])
    assert_starts_anew(path)


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('it ran')",))


def test_a_pickle_is_never_run(tmp_path):
    path = kept(tmp_path)
    saved(path, evil=Evil())
    assert_starts_anew(path)
    path.write_bytes(b"")
    assert_starts_anew(path, "damaged")
    torch.save({"identity": "x"}, path)
    assert_starts_anew(path, "not a checkpoint of this version")


def test_the_file_of_another_torch_is_not_read(tmp_path, monkeypatch):
    path = kept(tmp_path)
    monkeypatch.setattr(torch, "__version__", "1.0")
    assert_starts_anew(path, "saved by torch 2")


def test_the_file_of_another_run_is_not_read(tmp_path):
    kept(tmp_path)
    other = replace(SHORT, stages=(replace(STAGE, terms=(replace(STAGE.terms[0], prior=L2()),)),))
    expected = other(SEEN, seed=1)
    with pytest.warns(AuditWarning, match="is of another attack, update or seed"):
        assert_equal(other(SEEN, seed=1, keep=tmp_path / "run"), expected)


def test_forgetting_spares_the_neighbours(tmp_path):
    for name in ("batch1-0.pt", "batch1-2-all.pt", "batch10-0.pt", "batch1-0.pt.damaged"):
        (tmp_path / name).touch()
    keeper.forget(tmp_path / "batch1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["batch1-0.pt.damaged", "batch10-0.pt"]


class Own:
    """An attack of a user's own, as small as it may be."""

    name, needs = "own", Knowledge.BATCH_SIZE

    def __call__(self, seen, *, seed=0, watch=None):
        return Reconstruction(torch.zeros(1), None, float(seed))


class Keeping(Own):
    def __call__(self, seen, *, seed=0, watch=None, keep=None):
        return Reconstruction(torch.zeros(1), None, float(seed), notes=(str(keep.name),))


def test_every_attack_is_called_in_one_way(tmp_path):
    assert not accepts_keep(Own())
    assert run_attack(Own(), SEEN, seed=4, keep=tmp_path / "run").objective == 4
    assert all(accepts_keep(attack) for attack in ATTACKS.values() if isinstance(attack, GradientMatching))
    (alone,) = run_attack_on_all(Keeping(), [SEEN], seeds=[1], keep=tmp_path / "run")
    assert alone.notes == ("run",)
    two = run_attack_on_all(Keeping(), [SEEN, SEEN], seeds=[1, 2], keep=tmp_path / "run")
    assert [(one.objective, one.notes) for one in two] == [(1, ("run-0",)), (2, ("run-1",))]


def test_updates_that_share_no_pass_are_kept_apart(tmp_path):
    attack = replace(SHORT, together=False)
    assert isinstance(attack, GradientMatching)
    run_attack_on_all(attack, [SEEN, SEEN], seeds=[1, 2], keep=tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run-0-0.pt", "run-1-0.pt"]


@pytest.mark.parametrize("restarts", [1, 3])
def test_progress_goes_on_where_it_stood(tmp_path, monkeypatch, restarts):
    """Steps done are counted through the interruption, and the whole is that of the attack."""
    monkeypatch.setattr(keeper, "SECONDS", 0.0)
    attack = replace(SHORT, restarts=restarts, together=False)
    watch, told = stopping(2 + 12 * (restarts - 1))
    with pytest.raises(KeyboardInterrupt):
        attack(SEEN, watch=watch, keep=tmp_path / "run")
    watch, again = stopping(0)
    attack(SEEN, watch=watch, keep=tmp_path / "run")
    assert told + again == sorted(told + again)
    assert again[-1] == 12 * restarts
    assert again[0] in (told[-1], told[-1] + 1)


@pytest.mark.parametrize("times", [2, 99])
def test_another_process_deletes_the_folder_while_it_is_empty(tmp_path, monkeypatch, times):
    """As a study's workers do, which keep their runs in one folder; a folder that never stays is an error."""
    real, made = keeper.make_folder, []

    def make_folder(path, **options):
        real(path, **options)
        made.append(path)
        if len(made) <= times:
            path.rmdir()

    monkeypatch.setattr(keeper, "make_folder", make_folder)
    kept = keeper.Keeper(tmp_path / "unfinished" / "run-0.pt", "a run")
    if times > keeper.TRIES:
        with pytest.raises(AuditError, match=r"run-0\.pt: cannot be written"):
            kept.save({"step": 1})
        assert len(made) == keeper.TRIES
    else:
        kept.save({"step": 1})
        assert kept.path.is_file()
