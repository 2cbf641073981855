"""The union of folders: every trial once, conflicts named, nothing lost and nothing written where it does not fit."""

import dataclasses
import json
import os
import shutil

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from comparison_cases import RUN, finding, run_folder, study_folder, study_trial
from gradaudit.comparison import MergeConflict, merge, open_folder
from gradaudit.execution import read_folder
from gradaudit.execution.journal import Failure
from gradaudit.report import write
from gradaudit.report.sweep_page import write_sweep
from gradaudit.values.errors import AuditError

SWEEP = dataclasses.replace(
    RUN, kind="sweep", planned=4, grid={"size": (8, 16)}, configuration="seed: 0\ngrid:\n  size: [8, 16]\n"
)


def contents(folder):
    """Every file of a folder with its bytes."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def a(tmp_path):
    return run_folder(tmp_path / "a", [finding(repeat=i) for i in range(2)], pictures=True)


@pytest.fixture
def b(tmp_path):
    return run_folder(tmp_path / "b", [finding(repeat=i) for i in range(1, 4)], pictures=True)


def test_the_union_of_two_audits(a, b, tmp_path):
    before = contents(a), contents(b)
    merged = merge([a, b], tmp_path / "c")
    assert (merged.kind, merged.trials, merged.added, merged.failed) == ("audit", 4, 4, 0)
    assert (contents(a), contents(b)) == before
    findings, record = read_folder(tmp_path / "c")
    assert [one.repeat for one in findings] == [0, 1, 2, 3]
    assert record == read_folder(a)[1]
    for one in findings:
        home = a if one.repeat < 2 else b
        for path in (*one.pictures.truth, *one.pictures.reconstruction, *one.pictures.control):
            assert (tmp_path / "c" / path).read_bytes() == (home / path).read_bytes()
    lines = [json.loads(line) for line in (tmp_path / "c/results.jsonl").read_text().splitlines()]
    assert lines == [one.to_json() for one in findings]
    assert write(findings, record, tmp_path / "c").exists()


def test_merging_again_changes_nothing_and_more_can_be_added(a, b, tmp_path):
    out = tmp_path / "c"
    merge([a, b], out)
    before = contents(out)
    assert merge([b, a], out).added == 0
    assert contents(out) == before
    d = run_folder(tmp_path / "d", [finding("ig", number=1)], pictures=True)
    assert merge([a, d], out).added == 1
    assert len(open_folder(out).findings) == 5


def test_time_and_versions_are_no_conflict(tmp_path):
    a = run_folder(tmp_path / "a", [finding(seconds=1.0, versions={"torch": "1"})])
    b = run_folder(tmp_path / "b", [finding(seconds=9.0, versions={"torch": "2"})])
    assert merge([a, b], tmp_path / "c").trials == 1
    assert open_folder(tmp_path / "c").findings[finding().trial].seconds == 1.0


def test_every_conflict_is_named_and_nothing_is_written(tmp_path):
    a = run_folder(tmp_path / "a", [finding(repeat=0, psnr=12.31), finding(repeat=1), finding(repeat=2)])
    b = run_folder(
        tmp_path / "b", [finding(repeat=0, psnr=14.02), finding(repeat=1), finding(repeat=2, verified=False)]
    )
    with pytest.raises(MergeConflict, match="2 trials have different results, so nothing was written") as caught:
        merge([a, b], tmp_path / "c")
    first, second = caught.value.conflicts
    assert first.line == (
        f"dlg, no defense, batch 1, seed 0 (trial {finding().trial[:12]}): psnr 12.31 in {a}, 14.02 in {b}"
    )
    assert second.differ == (("verified", "True", "False"),)
    assert not (tmp_path / "c").exists()


def test_a_conflict_with_an_earlier_union_is_one_too(a, b, tmp_path):
    out = tmp_path / "c"
    merge([a, b], out)
    before = contents(out)
    d = run_folder(tmp_path / "d", [finding(repeat=0, psnr=33.0)], pictures=True)
    with pytest.raises(MergeConflict):
        merge([d, b], out)
    assert contents(out) == before


def test_small_differences_are_shown_with_enough_digits(tmp_path):
    a = run_folder(tmp_path / "a", [finding(psnr=20.0, objective=1.0)])
    b = run_folder(tmp_path / "b", [finding(psnr=20.00001, objective=1.0 + 1e-15)])
    with pytest.raises(MergeConflict) as caught:
        merge([a, b], tmp_path / "c")
    (name, mine, theirs), objective = caught.value.conflicts[0].differ
    assert (name, mine, theirs) == ("psnr", "20", "20.00001")
    assert objective[1] != objective[2]


def test_failed_in_one_and_done_in_the_other_is_done(tmp_path):
    done = finding()
    a = run_folder(tmp_path / "a", [], failures=[Failure(done.trial, "dlg", "no memory"), Failure("x", "ig", "lost")])
    b = run_folder(tmp_path / "b", [done], failures=[Failure("x", "ig", "lost again")])
    merged = merge([a, b], tmp_path / "c")
    assert (merged.trials, merged.failed) == (1, 1)
    found = open_folder(tmp_path / "c")
    assert list(found.findings) == [done.trial]
    assert [failure.error for failure in found.failures.values()] == ["lost again"]
    before = contents(tmp_path / "c")
    merge([a, b], tmp_path / "c")
    assert contents(tmp_path / "c") == before


def test_grids_are_united_in_order(tmp_path):
    other = dataclasses.replace(SWEEP, grid={"size": (16, 32)})

    def cells(*sizes):
        places = [(size, repeat) for size in sizes for repeat in range(2)]
        named = ((f"client0-attack0-batch{n}", *place) for n, place in enumerate(places))
        return [finding(grid={"size": size}, repeat=i, case=case) for case, size, i in named]

    a = run_folder(tmp_path / "a", cells(8, 16), SWEEP, pictures=True)
    b = run_folder(tmp_path / "b", cells(16, 32), other, pictures=True)
    merge([a, b], tmp_path / "c")
    found = open_folder(tmp_path / "c")
    assert found.record.grid == {"size": (8, 16, 32)}
    assert yaml.safe_load(found.record.configuration) == {"seed": 0, "grid": {"size": [8, 16, 32]}}
    assert found.record.planned == 6
    assert found.done == 6
    assert len({one.case for one in found.findings.values()}) == 6
    assert write_sweep(*read_folder(tmp_path / "c"), tmp_path / "c").exists()
    files = [path for one in found.findings.values() for path in one.pictures.truth]
    assert len(set(files)) == 6  # cells of one name do not overwrite each other's images
    for trial, one in found.findings.items():
        home = open_folder(b if one.grid["size"] == 32 else a)
        source = home.path / home.findings[trial].pictures.truth[0]
        assert (tmp_path / "c" / one.pictures.truth[0]).read_bytes() == source.read_bytes()


def test_keys_that_go_together_are_united_row_by_row(tmp_path):
    grids = [{"x": (1, 2), "y": (10, 20)}, {"x": (2, 3), "y": (20, 10)}]
    paths = [
        run_folder(tmp_path / name, [], dataclasses.replace(SWEEP, grid=grid, zipped=("x", "y")))
        for name, grid in zip("ab", grids, strict=True)
    ]
    merge(paths, tmp_path / "c")
    record = open_folder(tmp_path / "c").record
    assert record.grid == {"x": (1, 2, 3), "y": (10, 20, 10)}
    assert record.planned == 6


def test_what_does_not_belong_together_is_refused(a, b, tmp_path):
    out = tmp_path / "c"
    other = run_folder(tmp_path / "other", [], dataclasses.replace(RUN, identity={"model": "lenet"}))
    sweep = run_folder(tmp_path / "sweep", [], SWEEP)
    keys = run_folder(tmp_path / "keys", [], dataclasses.replace(SWEEP, grid={"side": (8,)}))
    zipped = run_folder(tmp_path / "zipped", [], dataclasses.replace(SWEEP, zipped=("size",)))
    study = study_folder(tmp_path / "study", [])
    cifar = study_folder(tmp_path / "cifar", [], {"data": "cifar"})
    (tmp_path / "empty").mkdir()
    for folders, message in [
        ([a, other], "different configurations: model was 'mlp', is 'lenet'"),
        ([a, sweep], "of different kinds: .* is an audit, .* is a sweep"),
        ([a, study], "of different kinds"),
        ([sweep, keys], "sweeps over different keys: size against side"),
        ([sweep, zipped], "sweeps over different keys"),
        ([study, cifar], "different data or weights: data was 'photographs', is 'cifar'"),
        ([a, tmp_path / "empty"], "it is no run"),
        ([a, tmp_path / "missing"], "there is no such folder"),
        ([a, a], "given twice"),
        ([a], "at least two folders"),
    ]:
        with pytest.raises(AuditError, match=message):
            merge(folders, out)
    assert not out.exists()


def test_the_folder_of_the_union_holds_nothing_else(a, b, tmp_path):
    for name, make in [
        ("letters", lambda path: (path.mkdir(), (path / "letter.txt").write_text("x"))),
        ("file", lambda path: path.write_text("x")),
        ("lenet", lambda path: run_folder(path, [], dataclasses.replace(RUN, identity={"model": "lenet"}))),
        ("study", lambda path: study_folder(path, [])),
    ]:
        make(tmp_path / name)
        before = contents(tmp_path / name)
        with pytest.raises(AuditError):
            merge([a, b], tmp_path / name)
        assert contents(tmp_path / name) == before
    before = contents(a)
    for out in (a, a / "inside", tmp_path):
        with pytest.raises(AuditError):
            merge([a, b], out)
    assert contents(a) == before
    (tmp_path / "new").mkdir()
    assert merge([a, b], tmp_path / "new").trials == 4


@pytest.mark.parametrize("path", ["../secret.png", "run.json", "/etc/hostname", "images/none.png", "images/\0.png"])
def test_files_outside_the_folders_of_a_run_are_not_copied(b, tmp_path, path):
    (tmp_path / "secret.png").write_text("secret")
    bad = finding("ig")
    bad = dataclasses.replace(bad, pictures=dataclasses.replace(bad.pictures, truth=(path, path)))
    a = run_folder(tmp_path / "a", [bad])
    with pytest.raises(AuditError, match=r"trials\.jsonl"):
        merge([b, a], tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_link_out_of_the_run_is_not_followed(b, tmp_path):
    (tmp_path / "secret.png").write_text("secret")
    bad = finding("ig")
    bad = dataclasses.replace(bad, pictures=dataclasses.replace(bad.pictures, truth=("images/x.png",) * 2))
    a = run_folder(tmp_path / "a", [bad])
    (a / "images").mkdir()
    (a / "images/x.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(AuditError, match="outside the folders"):
        merge([b, a], tmp_path / "c")


def test_the_union_of_two_studies(tmp_path):
    a = study_folder(tmp_path / "a", [("one", 0, {"psnr": 20.0}), ("two", 0, {"psnr": None})], failed=["two-1"])
    b = study_folder(tmp_path / "b", [("one", 0, {"psnr": 20.0}), ("two", 1, {"psnr": 3.0})])
    (b / "pictures").mkdir()
    (b / "pictures/cell.png").write_bytes(b"png")
    merged = merge([a, b], tmp_path / "c")
    assert (merged.kind, merged.trials, merged.failed) == ("study", 3, 0)
    found = open_folder(tmp_path / "c")
    assert set(found.trials) == {study_trial("one", 0), study_trial("two", 0), study_trial("two", 1)}
    assert found.trials[study_trial("two", 1)].line["seconds"] == 3.0
    assert (tmp_path / "c/pictures/cell.png").read_bytes() == b"png"
    before = contents(tmp_path / "c")
    assert merge([b, a], tmp_path / "c").added == 0
    assert contents(tmp_path / "c") == before
    d = study_folder(tmp_path / "d", [("one", 0, {"psnr": 21.0})])
    with pytest.raises(MergeConflict, match=r"table, one, seed 0 \(trial [0-9a-f]{12}\): psnr 20 in .*a, 21 in .*d"):
        merge([a, d], tmp_path / "e")


@given(st.lists(st.sets(st.integers(0, 3)), min_size=2, max_size=3))
@settings(max_examples=20)
def test_the_union_does_not_depend_on_the_order(tmp_path_factory, parts):
    home = tmp_path_factory.mktemp("u")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        paths = [
            run_folder(home / str(number), [finding(repeat=i) for i in sorted(part)])
            for number, part in enumerate(parts)
        ]
        merge(paths, home / "one")
        merge(paths[::-1], home / "other")
        merge([home / "one", *paths], home / "again")
    unions = [open_folder(home / name).findings for name in ("one", "other", "again")]
    assert unions[0] == unions[1] == unions[2]
    assert {one.repeat for one in unions[0].values()} == set().union(*parts)
    shutil.rmtree(home)
