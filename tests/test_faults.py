"""What goes wrong around a run: it ends in one line, loses nothing, and goes on."""
# ruff: noqa: F811  (fixtures)

import json
import os
import shutil
import signal
import threading
from dataclasses import replace

import pytest

from gradaudit.attacks import ATTACKS
from gradaudit.attacks.mgia import ALONE
from gradaudit.audit import judge as audit
from gradaudit.execution import Listener, Results, case_jobs, describe_run, journal, locked
from gradaudit.execution import run as run_cases
from gradaudit.execution.executors import process_pool
from gradaudit.inversion.run import keeper
from gradaudit.inversion.run.stage import StageRun
from gradaudit.studies import STUDIES, Bench, read_study, run_study
from gradaudit.studies import _mgia_cells as mgia_cells
from gradaudit.studies._attack_cell import AttackCell
from gradaudit.studies._mgia_cells import LookCell, MgiaCell
from gradaudit.values.errors import AuditError, AuditWarning
from properties import short
from test_cli import CONFIG, audit_file, numbers  # noqa: F401  (fixtures)
from test_studies import TOY, Toy

APART = {"name": "inverting-gradients", "set": {"stages.0.steps": 12, "together": False}}
ROWS = {
    "data": {"source": "table", "batch_size": 2},
    "model": {"name": "tabular-mlp"},
    "knowledge": ["basic", "LABELS"],
    "attacks": [{"name": "tableak", "set": {"attack.stages.0.steps": 12, "members": 2}}],
    "repeats": 1,
}
KEPT = {
    "one attack": {"attacks": [APART]},
    "two updates in one pass": {},
    "an ensemble": ROWS,
    "a generator": {"attacks": [{"name": "grnn", "set": {"stages.0.steps": 8}}], "knowledge": ["basic"], "repeats": 1},
}


def counted(monkeypatch, stop=0):
    """How often an optimiser steps; Ctrl-C at the step number `stop`."""
    steps = []
    real = StageRun.step

    def step(*arguments):
        steps.append(1)
        if len(steps) == stop:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(StageRun, "step", step)
    return steps


@pytest.mark.parametrize("name", KEPT)
def test_an_audit_goes_on_inside_an_attack(gradaudit, audit_file, tmp_path, monkeypatch, name):
    monkeypatch.setattr(keeper, "SECONDS", 0.0)
    path = audit_file(**KEPT[name])
    whole = counted(monkeypatch)
    expected = numbers(json.loads(gradaudit("audit", path, "--out", "whole", "--json")[1]))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(keeper, "SECONDS", 0.0)
    before = counted(monkeypatch, stop=6)
    code, _, err = gradaudit("audit", path, "--out", "run")
    assert code == 130
    assert "Run the same command again to resume" in err
    assert list((tmp_path / "run/unfinished").glob("*.pt"))
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    after = counted(monkeypatch)
    code, out, _ = gradaudit("audit", path, "--out", "run", "--json")
    assert code == 0
    assert numbers(json.loads(out)) == expected
    assert len(after) == len(whole) - len(before) + 1
    assert not (tmp_path / "run/unfinished").exists()


def test_a_full_disk_loses_no_attack(gradaudit, audit_file, tmp_path, monkeypatch):
    """The attack is done, and its result cannot be written: the next start does not compute it again."""
    path = audit_file(attacks=[APART], repeats=1)
    monkeypatch.setattr(journal, "append_line", lambda *_: broken_line(tmp_path))
    code, out, err = gradaudit("audit", path, "--out", "run")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].endswith("trials.jsonl: cannot be written: No space left on device.")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    steps = counted(monkeypatch)
    assert gradaudit("audit", path, "--out", "run")[0] == 0
    assert not steps
    assert not (tmp_path / "run/unfinished").exists()


def broken_line(folder):
    raise AuditError(f"{folder}/run/trials.jsonl: cannot be written: No space left on device.")


@pytest.mark.parametrize("command", ["audit", "audit, at the end", "study"])
def test_a_folder_that_is_deleted_meanwhile_is_named_and_stays_away(
    gradaudit,
    audit_file,
    tmp_path,
    monkeypatch,
    command,
):
    monkeypatch.setattr("gradaudit.studies.STUDIES", {**STUDIES, "toy": TOY})
    real, said = Toy.measure, audit.audit_together

    def measure(self, bench, seed):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        return real(self, bench, seed)

    def audited(*arguments):
        found = said(*arguments) if command.endswith("end") else None
        shutil.rmtree(tmp_path / "run")
        return found or said(*arguments)

    monkeypatch.setattr(Toy, "measure", measure)
    monkeypatch.setattr(case_jobs, "audit_together", audited)
    what = ("audit", audit_file(attacks=[APART])) if command != "study" else ("study", "toy", "--workers", "1")
    code, out, err = gradaudit(*what, "--out", "run")
    assert (code, out) == (2, "")
    assert "error: run/" in err.splitlines()[-1]
    assert "No such file or directory. It was moved or deleted" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["audit", "study", "demo", "inspect"])
def test_a_file_for_a_folder_is_one_line(gradaudit, audit_file, tmp_path, command):
    (tmp_path / "mine").write_text("mine")
    arguments = {
        "audit": (audit_file(),),
        "study": ("sok-table-1", "--scale", "quick"),
        "demo": (),
        "inspect": ("none.pt", "--model", "mlp", "--num-classes", "2"),
    }
    code, out, err = gradaudit(command, *arguments[command], "--out", "mine")
    assert (code, out) == (2, "")
    if command != "inspect":
        assert (
            err == "error: --out mine: cannot be created: File exists. Choose another folder, or move that file away.\n"
        )
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_damaged_unfinished_run_is_named_and_computed_again(gradaudit, audit_file, tmp_path):
    path = audit_file(attacks=[APART], repeats=1)
    expected = numbers(json.loads(gradaudit("audit", path, "--out", "whole", "--json")[1]))
    unfinished = tmp_path / "run/unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "client0-attack0-batch0-0.pt").write_bytes(b"PK\x03\x04 half")
    code, out, err = gradaudit("audit", path, "--out", "run", "--json")
    assert code == 0
    assert numbers(json.loads(out)) == expected
    (line,) = [line for line in err.splitlines() if line.startswith("note: ")]
    assert "unfinished/client0-attack0-batch0-0.pt: cannot be resumed (it is damaged" in line
    assert [entry.name for entry in unfinished.iterdir()] == ["client0-attack0-batch0-0.pt.damaged"]


@pytest.mark.parametrize("of", ["audit", "study"])
def test_what_is_safe_is_no_longer_kept(gradaudit, audit_file, tmp_path, monkeypatch, of):
    """Interrupted in the second case: what was kept of the first is gone."""
    monkeypatch.setattr(keeper, "SECONDS", 0.0)
    counted(monkeypatch, stop=18)
    if of == "audit":
        assert gradaudit("audit", audit_file(attacks=[APART]), "--out", "run")[0] == 130
    else:
        cell = AttackCell("one", short(ATTACKS["inverting-gradients"], 12), network="lenet", batch_size=1)
        with pytest.raises(KeyboardInterrupt):
            run_study(replace(TOY, cells={"default": (cell,)}), "default", Bench(), tmp_path / "run")
    (path,) = (tmp_path / "run/unfinished").iterdir()
    assert path.name.endswith("-batch1-0.pt" if of == "audit" else "-1-0.pt")


def test_what_killed_processes_left_half_written_goes(tmp_path):
    (tmp_path / "images").mkdir()
    for name in (".report.html.12.gradaudit-part", "images/.x.png.12.gradaudit-part", ".mine.12", "report.html"):
        (tmp_path / name).touch()
    with locked(tmp_path):
        pass
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == [".mine.12", "report.html"]


def test_findings_of_another_process_are_not_computed_twice(tmp_path, monkeypatch):
    """Two processes that begin at once: the second reads again what the first has done in between."""
    from gradaudit.audit.config import make_config
    from gradaudit.audit.plan import make_plan

    plan = make_plan(make_config(CONFIG), tmp_path)
    first, second = (Results(tmp_path / "run", describe_run([plan], "t")) for _ in range(2))
    run_cases([plan], first, Listener())
    steps = counted(monkeypatch)
    run_cases([plan], second, Listener())
    assert not steps
    assert second.findings == first.findings


# Studies.


def study(tmp_path, **changes):
    run_study(replace(TOY, **changes), "default", Bench(), tmp_path)
    return read_study(TOY, "default", Bench(), tmp_path)


def test_a_second_process_leaves_a_study_alone(gradaudit, tmp_path, monkeypatch):
    monkeypatch.setattr("gradaudit.studies.STUDIES", {**STUDIES, "toy": TOY})
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"):
        code, out, err = gradaudit("study", "toy", "--out", "run")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: --out run: process {os.getpid()} has been writing there since ")
    assert not list((tmp_path / "run").iterdir())  # not even a page


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"--data": 3}', b"\xff"])
def test_a_damaged_bench_is_named(tmp_path, content):
    study(tmp_path)
    (tmp_path / "bench.json").write_bytes(content)
    with pytest.raises(AuditError, match=r"bench.json: is damaged: .*\. Restore it, or choose another folder\.$"):
        study(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "0"}, "seed: "),
        ({"cell": 3}, "cell: "),
        ({"values": {"square": "four"}}, "values.square: "),
        ({"values": {"square": float("nan")}}, "values: must be finite"),
        ({"values": 4}, "values: "),
        ({"name": None}, "name: "),
    ],
)
def test_a_studys_line_of_wrong_types_is_skipped_and_measured_again(tmp_path, change, message):
    whole = study(tmp_path)
    path = tmp_path / "trials.jsonl"
    lines = path.read_text().splitlines()
    record = json.loads(lines[1])
    record["result"] |= change
    lines[1] = json.dumps(record)
    path.write_text("\n".join(lines) + "\n")
    with pytest.warns(AuditWarning, match=rf"trials.jsonl, line 2: is not a trial \({message}"):
        assert read_study(TOY, "default", Bench(), tmp_path).done == whole.done - 1
    with pytest.warns(AuditWarning, match="line 2: is not a trial"):
        assert study(tmp_path) == whole


def test_a_number_that_is_none_does_not_apply(tmp_path, monkeypatch):
    monkeypatch.setattr(Toy, "measure", lambda self, bench, seed: {"square": float("nan"), "nothing": float("inf")})
    assert study(tmp_path).interval("size 1", "square") is None


def test_a_worker_ends_with_its_parent(monkeypatch):
    class Parent:
        def join(self):
            joined.append(1)

    joined, ended = [], []
    monkeypatch.setattr(process_pool.multiprocessing, "parent_process", Parent)
    monkeypatch.setattr(process_pool.os, "_exit", ended.append)
    process_pool._end_with_parent()
    assert (joined, ended) == ([1], [1])


def test_processes_begin_deaf_to_ctrl_c():
    before = signal.getsignal(signal.SIGINT)
    with process_pool._deaf():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before
    aside = threading.Thread(target=lambda: process_pool._deaf().__enter__())
    aside.start()
    aside.join()


@pytest.mark.parametrize("method", ["mgia", "splicing"])
def test_a_study_of_two_updates_goes_on_with_its_looks(tmp_path, monkeypatch, method):
    """Interrupted after the look at step 2: what was seen there is kept, too."""
    attack = short(ALONE, 4)
    monkeypatch.setattr(keeper, "SECONDS", 0.0)
    monkeypatch.setattr(mgia_cells, "ALONE", attack)
    monkeypatch.setattr(mgia_cells, "SPLICING", attack)
    pair = replace(mgia_cells.PAIRS["mgia"], teacher=attack, student=attack)
    monkeypatch.setattr(mgia_cells, "PAIRS", {"mgia": pair})
    cell = LookCell(MgiaCell("photographs", method), 2)

    def measured(folder):
        mgia_cells._measured.cache_clear()
        mgia_cells._RUNS.clear()
        toy = replace(TOY, cells={"default": (cell, cell.of)}, repeats={"default": 1}, reported={}, figures=())
        run_study(toy, "default", Bench(), folder)
        return read_study(toy, "default", Bench(), folder)

    whole = counted(monkeypatch)
    expected = measured(tmp_path / "whole").values
    steps = len(whole)
    monkeypatch.setattr(StageRun, "step", stopping_step(StageRun.step, steps))
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path / "run")
    assert (tmp_path / "run/unfinished").is_dir()
    del whole[:]
    assert measured(tmp_path / "run").values == expected
    assert len(whole) <= 2
    assert not (tmp_path / "run/unfinished").exists()
    mgia_cells._measured.cache_clear()
    mgia_cells._RUNS.clear()


def stopping_step(real, at):
    """A step that presses Ctrl-C once, when it is called for the time number `at`."""
    calls = []

    def step(*arguments):
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return real(*arguments)

    return step


def test_a_second_ctrl_c_while_the_page_is_written_harms_nothing(
    gradaudit,
    audit_file,
    tmp_path,
    monkeypatch,
):
    path = audit_file(attacks=[APART])
    assert gradaudit("audit", path, "--out", "run", "--set", "repeats=2")[0] == 0
    page, lines = (tmp_path / "run" / name for name in ("report.html", "trials.jsonl"))
    kept = page.read_bytes(), lines.read_bytes()

    def again(*_):
        raise KeyboardInterrupt

    for call in ("fsync", "replace"):
        monkeypatch.setattr(os, call, again)
        assert gradaudit("audit", path, "--out", "run")[0] == 130
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        assert (page.read_bytes(), lines.read_bytes()) == kept
        assert not list((tmp_path / "run").glob(".*"))
