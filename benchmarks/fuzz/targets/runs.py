"""Files of a finished run or study: results, records, images, transcripts and checkpoints of attacks."""

from __future__ import annotations

import atexit
import hashlib
import io
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from gradaudit.inversion.run import keeper

from .. import whole
from ..judge import Input, Must
from ..mutate import TENSORS, WRONG, Dice, at, bytes_mutated, mutated, places
from ..run import execute

AUDIT = ("audit", "a.yaml", "--out", "run")
STUDY_RUN = ("study", "fuzz", "--out", "run", "--workers", "1")
NESTED = {"name": "inverting-gradients", "set": {"stages.0.steps": 2, "seeds": 1, "together": False}}


@cache
def scratch() -> Path:
    """Return a folder that is deleted at the end of this process."""
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return Path(folder.name)


@cache
def finished(kind: str) -> Path:
    """Return the folder of a finished run on images, rows or text, of a checkpoint, or of a study."""
    folder = scratch() / kind
    folder.mkdir()
    whole.project(folder)
    (folder / "t.csv").write_text(whole.csv(), encoding="utf-8")
    (folder / "t.tsv").write_text(whole.tsv(), encoding="utf-8")
    rows = {"source": "table", "path": "t.csv", "batch_size": 1}
    changes: dict[str, dict[str, Any]] = {
        "rows": {
            "data": rows,
            "model": {"name": "tabular-mlp"},
            "attacks": [{"name": "inverting-gradients-table", "set": {"stages.0.steps": 1}}],
        },
        "text": {
            "data": {"source": "text", "path": "t.tsv"},
            "model": {"factory": "net.py:Words"},
            "attacks": [{"name": "tag", "set": {"stages.0.steps": 1}}],
        },
        "kept": {"attacks": [NESTED]},
    }
    whole.audit_file(folder, whole.config(repeats=2, **changes.get(kind, {})))
    often = mock.patch.object(keeper, "SECONDS", -1.0 if kind == "kept" else 30.0)
    with often, mock.patch.object(keeper, "forget"), mock.patch.object(keeper, "clear"):
        outcome = execute(STUDY_RUN if kind == "study" else AUDIT, folder, 300)
    assert outcome.code in (0, 2), outcome.err + outcome.error
    return folder


def results(dice: Dice, folder: Path) -> Input:
    """Return an input that resumes or reports a run whose folder was changed."""
    kind = dice.choice(("pictures", "pictures", "pictures", "rows", "text", "study"))
    whole.copied(finished(kind), folder)
    study = kind == "study"
    names = ("trials.jsonl", "bench.json" if study else "run.json")
    argv = STUDY_RUN if study else dice.choice((("report", "run"), AUDIT, (*AUDIT, "--json")))
    way = dice.choice(("line", "line", "line", "lines", "identity", "identity", "bytes", "file", "beside"))
    path = folder / "run" / names[way == "identity"]
    must: Must = "any"
    if way == "bytes":
        path = folder / "run" / dice.choice(names)
        data, what = bytes_mutated(path.read_bytes(), dice, b'{"a": NaN}\n')
        path.write_bytes(data)
    elif way in ("line", "identity"):
        what, must = _tree(dice, path)
    elif way == "lines":
        what, must = _lines(dice, path)
    elif way == "file":
        what, must = _file(dice, folder / "run" / dice.choice(names))
        must = "any" if study or "nothing" in what else must
    else:
        what, must = _beside(dice, folder / "run", reads=argv[0] == "report")
    return Input(argv, f"{kind}: {way}: {what}", must)


def _tree(dice: Dice, path: Path) -> tuple[str, Must]:
    """Change one value of a record."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    place = dice.randrange(len(lines))
    record = json.loads(lines[place])
    held = record["result"] if dice.rare(0.8) and "result" in record else record
    needed = [
        key
        for key in ("case", "attack", "scores", "control", "title", "planned", "cell", "values", "result")
        if key in held
    ]
    if needed and dice.rare(0.2):
        key = dice.choice(needed)
        del held[key]
        what, must = f"without {key}", "say" if path.suffix == ".jsonl" else "refuse"
    else:
        record, what = mutated(record, dice)
        must = "any"
    lines[place] = json.dumps(record)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return what, must  # type: ignore[return-value]


def _lines(dice: Dice, path: Path) -> tuple[str, Must]:
    """Repeat, damage, cut or replace whole lines."""
    lines = path.read_bytes().splitlines(keepends=True)
    what = dice.choice(("twice", "strange", "cut", "swapped", "blank", "NaN", "deep", "BOM", "lacks the last"))
    strange = dice.choice((b"[]\n", b"3\n", b"null\n", b'"a"\n', b"{}\n", b"\xff\n", b"{\n", b'{"case": 1}\n'))
    changed = {
        "twice": [*lines, lines[0]],
        "strange": [strange, *lines],
        "cut": [*lines[:-1], lines[-1][:-5]],
        "swapped": lines[::-1],
        "blank": [lines[0], b"\n", *lines[1:]],
        "NaN": [*lines, b'{"case": NaN}\n'],
        "deep": [b"[" * 100_000 + b"\n", *lines],
        "BOM": [b"\xef\xbb\xbf", *lines],
        "lacks the last": lines[:-1],
    }[what]
    path.write_bytes(b"".join(changed))
    return what, {"swapped": "any", "BOM": "any", "lacks the last": "any"}.get(what, "say")  # type: ignore[return-value]


def _file(dice: Dice, path: Path) -> tuple[str, Must]:
    """Replace a file by something else."""
    what = dice.choice(("nothing", "a folder", "a link to nothing", "a loop", "a closed file", "an empty file"))
    content = path.read_bytes()
    path.unlink()
    if what == "a folder":
        path.mkdir()
    elif what in ("a link to nothing", "a loop"):
        path.symlink_to("gone" if what == "a link to nothing" else path.name)
    elif what == "a closed file":
        path.write_bytes(content)
        path.chmod(0)
    elif what == "an empty file":
        path.write_bytes(b"")
    refused = what in ("a folder", "a loop") or (what == "an empty file" and path.suffix == ".json")
    return f"{path.name} is {what}", "refuse" if refused else "any"


def _beside(dice: Dice, run: Path, *, reads: bool) -> tuple[str, Must]:
    """Damage an image, a transcript, the page or the lock."""
    files = sorted(
        path for place in ("images", "examples") if (run / place).is_dir() for path in (run / place).iterdir()
    )
    what = dice.choice(("gone", "empty", "bytes", "folder", "lock", "page", "part", "unfinished"))
    if what in ("lock", "page", "part", "unfinished") or not files:
        path = run / {"lock": ".lock", "page": "report.html", "part": ".x.1.gradaudit-part"}.get(what, "unfinished")
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        if dice.rare(0.3):
            path.mkdir()
        else:
            path.write_bytes(dice.choice((b"", b"\xff", b"{}", b"[]", b'{"pid": 1}', b"\x1b[2J")))
        return what, "any"
    path = dice.choice(files)
    content = path.read_bytes()
    path.unlink()
    if what == "empty":
        path.write_bytes(b"")
    elif what == "bytes":
        path.write_bytes(bytes_mutated(content, dice, content)[0])
    elif what == "folder":
        path.mkdir()
    return f"{path.suffix} {what}", "refuse" if reads and what != "bytes" else "any"


def kept(dice: Dice, folder: Path) -> Input:
    """Return an input that resumes a stopped attack from a damaged or changed checkpoint."""
    whole.copied(finished("kept"), folder)
    run = folder / "run"
    (run / "trials.jsonl").unlink()
    files = sorted((run / "unfinished").glob("*.pt"))
    path = dice.choice(files)
    way = dice.choice(("bytes", "cut", "state", "state", "state", "swap", "place"))
    must: Must = "say"
    if way == "bytes":
        data, what = bytes_mutated(path.read_bytes(), dice, b"\0")
        must = "say" if data != path.read_bytes() else "any"
        path.write_bytes(data)
    elif way == "cut":
        path.write_bytes(path.read_bytes()[: dice.randrange(len(path.read_bytes()))])
        what = "cut"
    elif way == "swap":
        path.write_bytes(files[files.index(path) - 1].read_bytes())
        what, must = "another run's", "say" if len(files) > 1 else "any"
    elif way == "place":
        path.unlink()
        what = dice.choice(("a folder", "a loop", "a broken link"))
        path.mkdir() if what == "a folder" else path.symlink_to(path.name if what == "a loop" else "gone")
        must = "any"
    else:
        what, must = _state(dice, path), "any"
    return Input(AUDIT, f"{way}: {what}", must)


def _state(dice: Dice, path: Path) -> str:
    """Change the saved state, and write the matching hash before it."""
    mark, _, content = path.read_bytes().split(b"\n", 2)
    state, what = _tensors_mutated(torch.load(io.BytesIO(content), weights_only=True), dice)
    file = io.BytesIO()
    torch.save(state, file)
    path.write_bytes(b"\n".join((mark, hashlib.sha256(file.getvalue()).hexdigest().encode(), file.getvalue())))
    return what


def _tensors_mutated(state: Any, dice: Dice) -> tuple[Any, str]:
    paths = [path for path in places(state) if isinstance(at(state, path), torch.Tensor)]
    if not paths or dice.rare(0.5):
        return mutated(state, dice)
    path, pool = dice.choice(paths), {**TENSORS, **WRONG}
    what = dice.choice(list(pool))
    try:
        at(state, path[:-1])[path[-1]] = pool[what](at(state, path), dice)
    except (RuntimeError, NotImplementedError, TypeError):  # not every type of tensor can be converted to every other
        return mutated(state, dice)
    return state, f"{'.'.join(map(str, path))} {what}"
