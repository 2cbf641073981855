"""A fixed part of the fuzzer, and the fuzzer's own eyes: what counts as a fault, and that an input is its number."""

import json
import sys

import pytest
from benchmarks.fuzz import whole
from benchmarks.fuzz.__main__ import keep, one
from benchmarks.fuzz.judge import COUNTS, FAULTS, Input, Tally, added, faults, table
from benchmarks.fuzz.mutate import Dice
from benchmarks.fuzz.run import Hang, Outcome, execute
from benchmarks.fuzz.targets import TARGETS

from gradaudit.commands import cli

NUMBERS = 4  # inputs of each target


@pytest.mark.parametrize("target", TARGETS)
def test_a_fixed_part_is_quiet(target, tmp_path):
    for number in range(NUMBERS):
        folder = tmp_path / str(number) / "in"
        folder.mkdir(parents=True)
        given, outcome, found = one(target, 7, number, folder)
        assert not found, (number, given, outcome)


def tree(folder):
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("target", ["audit-file", "npz", "table", "options", "parts", "user-code"])
def test_an_input_is_its_seed_and_number(target, tmp_path):
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made.append((TARGETS[target](Dice(target, 1, 5), tmp_path / name), tree(tmp_path / name)))
    assert made[0] == made[1]


@pytest.fixture
def command(monkeypatch, tmp_path):
    """What is made of a `main` that does what it is given."""

    def run(main, must="any", seconds=20):
        monkeypatch.setattr(cli, "main", main)
        folder = tmp_path / "in"
        folder.mkdir()
        given = Input(("audit",), "made", must, seconds)
        return faults(given, execute(given.argv, folder, seconds))

    return run


def prints(out="", err="", code=0):
    def main():
        sys.stdout.write(out)
        sys.stderr.write(err)
        sys.exit(code)

    return main


def raises(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("main", "kind"),
    [
        (prints(err="error: no file.\n", code=2), None),
        (prints(out="a table\n"), None),
        (raises(KeyError("x")), "traceback"),
        (raises(Hang()), "hang"),
        (prints(err="Traceback (most recent call last):\n  File\nKeyError: 1\n", code=1), "traceback"),
        (prints(err="one\nerror: no file.\n", code=2), "lines"),
        (prints(code=2), "lines"),
        (prints(err="net.py:3: UserWarning: old\n"), "lines"),
        (prints(out="\x1b[2J"), "control"),
        (prints(err="error: \u202ename.\n", code=2), "control"),
    ],
)
def test_what_is_a_fault(command, main, kind):
    assert list(command(main)) == ([kind] if kind else [])


def test_wrong_input_that_is_taken_without_a_word(command):
    assert list(command(prints(), must="refuse")) == ["silent"]


@pytest.mark.parametrize(("said", "kinds"), [("", ["silent"]), ("note: it was cut off.\n", [])])
def test_damage_that_has_to_be_spoken_of(command, said, kinds):
    assert list(command(prints(err=said), must="say")) == kinds


def test_a_file_outside_the_folder_is_seen(command, tmp_path):
    assert list(command(lambda: (tmp_path / "x").write_text(""))) == ["outside"]


def test_a_loop_is_stopped(command):
    def main():
        while True:
            pass

    assert list(command(main, seconds=1)) == ["hang"]


def test_an_attack_that_takes_long_and_can_be_interrupted_is_no_fault(command):
    def main():
        try:
            while True:
                pass
        except KeyboardInterrupt:
            prints(err="[1/1] dlg\ninterrupted: 0 of 1 cases are kept in run.\n", code=130)()

    assert not command(main, seconds=1)


def test_a_kept_case_holds_the_files_as_they_were(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    given, outcome, found = one("audit-file", 7, 0, folder)
    keep(tmp_path / "case", given, outcome, found, ("audit-file", 7, 0))
    what = json.loads((tmp_path / "case/case.json").read_text())
    assert tuple(what["argv"]) == given.argv
    assert (tmp_path / "case/a.yaml").read_bytes() == (folder / "a.yaml").read_bytes()
    assert (tmp_path / "case/p.npz").read_bytes() == whole.archive()


def test_runs_add_up():
    tally = Tally("npz")
    tally.add(Outcome(2, "", "error: x.\n", 0.5), {})
    tally.add(Outcome(1, "", "", 0.5, "Traceback", "KeyError"), {"traceback": "KeyError"})
    (both,) = added([tally.to_json(), tally.to_json()])
    assert [both.counts[name] for name in COUNTS[:4]] == [4, 2, 0, 0]
    assert [both.counts[name] for name in FAULTS] == [2, 0, 0, 0, 0, 0]
    assert "| npz | 4 | 2 | 0 | 0 | 2 |" in table([both])
