"""What is written is whole, for its owner alone, and refused in one line where it cannot be."""

import errno
import json
import os
import stat
from dataclasses import asdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradaudit.execution import Results, journal, read_folder
from gradaudit.report import write
from gradaudit.report.album import Album
from gradaudit.values import files
from gradaudit.values.errors import AuditError, AuditWarning
from gradaudit.values.files import append_line, make_folder, png, read_whole, set_aside, write_whole
from gradaudit.values.finding import Finding, RunRecord
from gradaudit.values.transcript import Transcript, TranscriptLine
from test_report_page import RUN, finding


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no modes")
def test_files_are_for_their_owner_alone(tmp_path, umask):
    there = tmp_path / "there"
    there.mkdir()
    there.chmod(0o755)
    for name in ("page.html", "lines.jsonl"):
        (there / name).touch()
        (there / name).chmod(0o644)  # as an older version wrote it
    write_whole(there / "page.html", "new")
    append_line(there / "lines.jsonl", {"a": 1})
    make_folder(there / "made")
    write_whole(there / "made" / "x.png", png(torch.rand(3, 4, 4)))
    make_folder(tmp_path / "a" / "b")
    assert {mode(path) for path in there.rglob("*") if path.is_file()} == {0o600}
    assert {mode(path) for path in (there / "made", tmp_path / "a", tmp_path / "a/b")} == {0o700}
    assert mode(there) == 0o755  # the user's own affair


@given(st.text(), st.binary())
def test_what_was_written_is_read(tmp_path_factory, text, raw):
    path = tmp_path_factory.getbasetemp() / "whole"
    assert read_whole(write_whole(path, raw)) == raw
    assert read_whole(write_whole(path, text)).decode() == text.encode("utf-8", "backslashreplace").decode()
    path.unlink()
    assert read_whole(path) is None


def refusing(monkeypatch, name, number, after=0):
    """Let the system call `os.NAME` fail from its call number `after` on."""
    real, calls = getattr(os, name), []

    def call(*arguments, **options):
        calls.append(arguments)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **options)

    monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, call):
    path = write_whole(tmp_path / "page.html", "old")
    refusing(monkeypatch, call, errno.ENOSPC)
    with pytest.raises(
        AuditError, match=r"page.html: cannot be written: No space left on device\. Free some disk space"
    ):
        write_whole(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]


def test_half_a_line_is_taken_back(tmp_path, monkeypatch):
    path = tmp_path / "lines.jsonl"
    append_line(path, {"a": 1})
    real = os.write

    def write(descriptor, data):
        if len(data) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data[:10])

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(AuditError, match=r"lines.jsonl: cannot be written: No space left"):
        append_line(path, {"b": "x" * 7})
    monkeypatch.undo()
    append_line(path, {"c": 3})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1}, {"c": 3}]


def test_every_refusal_is_one_line_that_names_the_path(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    refusals = [
        (lambda: make_folder(tmp_path / "file", option="--out"), "--out .*file: cannot be created: File exists"),
        (lambda: make_folder(tmp_path / "file" / "in"), "file: cannot be created: File exists"),
        (lambda: make_folder(tmp_path / ("x" * 300)), "xxx: cannot be created: File name too long. Choose a shorter"),
        (lambda: write_whole(tmp_path / "gone" / "x", ""), "gone/x: cannot be written: No such file.*deleted"),
        (lambda: append_line(tmp_path / "gone" / "x", {}), "gone/x: cannot be written"),
        (lambda: write_whole(tmp_path, ""), "cannot be written"),
        (lambda: read_whole(tmp_path), "cannot be read: Is a directory"),
        (lambda: read_whole(tmp_path / "file" / "x"), "cannot be read: Not a directory"),
        (lambda: set_aside(tmp_path / "gone"), "gone: cannot be renamed"),
        (lambda: Results(tmp_path / "file", RUN), "--out .*file: cannot be created"),
        (lambda: read_folder(tmp_path / "file"), "run.json: cannot be read: Not a directory"),
    ]
    for act, message in refusals:
        with pytest.raises(AuditError, match=message) as caught:
            act()
        assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"
    refusing(monkeypatch, "open", errno.EACCES)
    with pytest.raises(
        AuditError, match=r"x: cannot be written: Permission denied. Choose a folder that you have permission to use"
    ):
        write_whole(tmp_path / "x", "")


def test_a_link_is_replaced_not_followed(tmp_path):
    (tmp_path / "target").write_text("theirs")
    (tmp_path / "page").symlink_to(tmp_path / "target")
    write_whole(tmp_path / "page", "ours")
    (tmp_path / "lines").symlink_to(tmp_path / "target")
    with pytest.raises(AuditError, match="lines: cannot be written"):
        append_line(tmp_path / "lines", {})
    assert (tmp_path / "target").read_text() == "theirs"


def test_the_names_in_a_folder_reach_the_disk(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(files, "_settle", told.append)
    make_folder(tmp_path / "a")
    write_whole(tmp_path / "a" / "x", "")
    append_line(tmp_path / "a" / "y", {})
    append_line(tmp_path / "a" / "y", {})
    assert told == [tmp_path, tmp_path / "a", tmp_path / "a"]


# Results on disk: what is not whole is named, never taken for something else.


@pytest.fixture
def run_folder(tmp_path):
    """Two findings."""
    run = RunRecord("t", "c", "s", 2)
    results = Results(tmp_path / "run", run)
    for case in "ab":
        results.append(finding(tmp_path, case))
    return tmp_path / "run", run


def change(folder, number, edit):
    """Change one line of the results."""
    path = folder / "trials.jsonl"
    lines = path.read_text().splitlines()
    record = json.loads(lines[number])
    edit(record["result"])
    lines[number] = json.dumps(record)
    path.write_text("\n".join(lines) + "\n")


WRONG = {
    "a word for a score": (lambda r: r["scores"]["psnr"].update(per_example=["high"]), "psnr.per_example.0"),
    "a word for a worst leak": (lambda r: r["control"]["psnr"].update(worst_leak="x"), "control.named.psnr.worst_leak"),
    "a digit as a word": (lambda r: r.update(repeat="1"), "repeat: .*integer"),
    "a list for a name": (lambda r: r.update(attack=["dlg"]), "attack: .*string"),
    "one for true": (lambda r: r.update(verified=1), "verified: .*boolean"),
    "no scores": (lambda r: r.pop("scores"), "scores: .*required"),
    "scores of nothing": (lambda r: r.update(scores=3), "scores"),
    "no deciding metric": (lambda r: r["control"].pop("psnr"), "control.psnr: is missing"),
    "an empty batch": (lambda r: [r[k]["psnr"].update(per_example=[]) for k in ("scores", "control")], "same examples"),
    "a score beyond all": (lambda r: r["scores"]["psnr"].update(per_example=[1e300]), "scores.psnr: .* no score comes"),
    "a score beyond all behind none": (
        lambda r: [r[k]["psnr"].update(per_example=[None, 1e300]) for k in ("scores", "control")],
        "no score comes",
    ),
    "another batch": (lambda r: r["control"]["psnr"].update(per_example=[1.0, 2.0]), "same examples"),
    "an unknown modality": (lambda r: r.update(modality="smell"), "modality"),
    "a path that is a number": (lambda r: r["pictures"].update(truth=[7]), "pictures.truth.0"),
    "a curve of words": (lambda r: r.update(curves=[[["a", 1.0]]]), "curves.0.0.0"),
    "versions that are a list": (lambda r: r.update(versions=["torch"]), "versions"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_line_of_wrong_types_is_skipped_and_named(run_folder, name):
    folder, run = run_folder
    edit, message = WRONG[name]
    change(folder, 1, edit)
    whole = (folder / "trials.jsonl").read_bytes()
    for read in (lambda: read_folder(folder)[0], lambda: Results(folder, run).findings):
        with pytest.warns(AuditWarning, match=rf"trials.jsonl, line 2: is not a trial \(.*{message}") as caught:
            assert [one.case for one in read()] == ["a"]
        assert "\n" not in str(caught[0].message)
        assert len(caught) == 1
    assert (folder / "trials.jsonl").read_bytes() == whole  # it is not for us to delete


LINES = ["3", "null", "[]", '"x"', "{}", "", "{", "[" * 100_000, "\x00", '{"trial": NaN}', '{"trial": 1, "error": ""}']


@pytest.mark.parametrize("line", LINES)
def test_a_foreign_line_is_skipped_and_named(run_folder, line):
    folder, _ = run_folder
    path = folder / "trials.jsonl"
    before = path.read_bytes()
    path.write_bytes(line.encode() + b"\n" + before)
    with pytest.warns(AuditWarning, match=r"trials.jsonl, line 1: is not a trial .* computed again"):
        assert len(read_folder(folder)[0]) == 2


def test_many_foreign_lines_are_counted(run_folder):
    folder, _ = run_folder
    with (folder / "trials.jsonl").open("a") as file:
        file.write("x\n" * 10)
    with pytest.warns(AuditWarning, match=r"trials.jsonl") as caught:
        assert len(read_folder(folder)[0]) == 2
    assert [str(one.message).rpartition(": ")[2] for one in caught[3:]] == [
        "7 more lines are skipped, and their trials are computed again."
    ]


def test_a_trial_twice_counts_once(run_folder):
    folder, _ = run_folder
    path = folder / "trials.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    other = json.loads(first)
    other["result"]["attack"] = "another"
    path.write_bytes(first + second + json.dumps(other).encode() + b"\n")
    with pytest.warns(AuditWarning, match=r"trials.jsonl, line 3: repeats a trial. It is skipped"):
        assert [one.attack for one in read_folder(folder)[0]].count("another") == 0


def test_a_result_under_the_name_of_another_trial_is_foreign(run_folder):
    folder, _ = run_folder
    path = folder / "trials.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["trial"] = "0123456789abcdef"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.warns(AuditWarning, match=r"line 1: is not a trial \(its result is of another trial\)"):
        assert len(read_folder(folder)[0]) == 1


def test_an_unchanged_journal_is_read_once(run_folder, monkeypatch):
    """So a damaged line is named once, and a long journal is parsed once; a line of another process is seen."""
    folder, run = run_folder
    path = folder / "trials.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"x\n" + first)
    reads = []
    monkeypatch.setattr(journal, "read_whole", lambda at: (reads.append(at) if at == path else None) or read_whole(at))
    with pytest.warns(AuditWarning, match="line 1: is not a trial") as caught:
        results = Results(folder, run)
    results.refresh()  # a warning would be an error here
    assert (len(caught), len(reads), len(results.findings)) == (1, 1, 1)
    path.write_bytes(path.read_bytes() + second)
    with pytest.warns(AuditWarning, match="line 1: is not a trial"):
        results.refresh()
    assert (len(reads), len(results.findings)) == (2, 2)


def test_a_failure_counts_until_there_is_a_result(run_folder):
    folder, run = run_folder
    path = folder / "trials.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    failure = json.dumps({"trial": json.loads(lines[1])["trial"], "title": "b", "error": "it broke."}).encode() + b"\n"
    path.write_bytes(lines[0] + failure)
    found, record = read_folder(folder)
    assert ([one.case for one in found], record.failures) == (["a"], ("b: it broke.",))
    assert Results(folder, run).run.failures == ("b: it broke.",)
    path.write_bytes(lines[0] + failure + lines[1])
    found, record = read_folder(folder)
    assert (len(found), record.failures) == (2, ())


def test_a_run_of_an_earlier_release_is_read(run_folder, tmp_path):
    """Release 0.2 wrote bare findings without the name of a trial into results.jsonl."""
    folder, _ = run_folder
    found, _ = read_folder(folder)
    lines = [json.loads(line)["result"] for line in (folder / "trials.jsonl").read_text().splitlines()]
    for line in lines:
        del line["trial"], line["batch"], line["grid"]
    (folder / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "trials.jsonl").unlink()
    assert [one.case for one in read_folder(folder)[0]] == [one.case for one in found]


def test_a_torn_last_line_is_cut_and_said(run_folder):
    folder, run = run_folder
    path = folder / "trials.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.warns(AuditWarning, match="trials.jsonl, line 2: is incomplete; it is skipped"):
        assert len(read_folder(folder)[0]) == 1
    assert path.read_bytes() == whole[:-1]  # a reader changes nothing
    with pytest.warns(AuditWarning, match="trials.jsonl, line 2: is incomplete; it was cut off"):
        assert len(Results(folder, run).findings) == 1
    assert path.read_bytes() == whole.splitlines(keepends=True)[0]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"title": 3}', b"7"])
def test_a_damaged_run_is_named(run_folder, content):
    folder, run = run_folder
    (folder / "run.json").write_bytes(content)
    for read in (lambda: read_folder(folder), lambda: Results(folder, run)):
        with pytest.raises(AuditError, match=r"run.json: is damaged: .*\. Restore it, or choose another folder\.$"):
            read()
    (folder / "run.json").unlink()
    with pytest.raises(AuditError, match=r"contains trials.jsonl without run.json"):
        Results(folder, run)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_no_record_is_read_as_what_it_is_not(record):
    for kind in (Finding, RunRecord, Transcript):
        with pytest.raises(ValueError, match=r"."):
            kind.from_json(record)


def test_any_single_entry_of_another_type_is_refused(tmp_path):
    """An entry that can be left out may be null or absent; no other type passes for the right one."""
    record = json.loads(json.dumps(finding(tmp_path).to_json()))
    for name in record.keys() - {"psnr_gain"}:
        wrong = {"a": object.__name__} if not isinstance(record[name], dict) else 5
        with pytest.raises(ValueError, match=name if name not in ("scores", "control") else "."):
            Finding.from_json({**record, name: wrong})


def test_a_transcript_of_wrong_types_is_refused():
    line = TranscriptLine(("a", "b"), (True, False), (0.5, float("nan")), (1.0, float("nan")))
    record = json.loads(json.dumps(Transcript((), (line,), (line,), (line,)).to_json(), allow_nan=False))
    assert repr(Transcript.from_json(record).truth[0]) == repr(
        TranscriptLine(line.pieces, line.differs, line.confidence, (1.0, None))
    )
    for edit, message in (
        ({"pieces": [3, 4]}, r"truth.0.pieces.0"),
        ({"differs": [True]}, r"truth.0: differs and confidence are not of its pieces"),
        ({"confidence": ["sure", "sure"]}, r"truth.0.confidence.0"),
    ):
        with pytest.raises(ValueError, match=message):
            Transcript.from_json({**record, "truth": [{**asdict(line), "values": (), "confidence": (), **edit}]})


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", "half", "other"])
def test_a_damaged_picture_is_named(tmp_path, content):
    case = finding(tmp_path)
    path = tmp_path / case.pictures.truth[0]
    whole = path.read_bytes()
    if content == "half":
        content = whole[: len(whole) // 2]
    elif content == "other":
        content = whole.replace(b"PNG", b"GIF")
    path.write_bytes(content)
    with pytest.raises(AuditError, match=r"a-truth-0.png: not a PNG image, or a damaged one .*trials.jsonl"):
        write([case], RUN, tmp_path)


@pytest.mark.parametrize("path", ["", ".", "a\0b", "x" * 5000, "loop"])
def test_a_picture_that_cannot_be_is_named(tmp_path, path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(AuditError, match=r"no such image or transcript in the folder of the run"):
        Album(tmp_path).digest(path)
