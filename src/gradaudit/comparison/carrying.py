"""Copying the images and transcripts of findings into the folder of a union."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..studies._bench import PICTURES
from ..values.errors import AuditError
from ..values.files import is_file, make_folder, read_whole, write_whole
from ..values.finding import Finding, ImageFiles
from .folders import RunFolder

HOMES = ("images", "examples")  # folders of a run that hold the files of findings


class Carrier:
    """The files that a union needs, read and checked before anything is written.

    Args:
        out: Folder of the union.
        present: Findings that it already holds; their files stay as they are.
    """

    def __init__(self, out: Path, present: Iterable[Finding]) -> None:
        self._out = out
        held = {path: read_whole(out / path) for finding in present for path in _paths(finding)}
        self._digests = {path: hashlib.sha256(raw).hexdigest() for path, raw in held.items() if raw is not None}
        self._sources: dict[str, Path] = {}

    def planned(self, trial: str, finding: Finding, home: RunFolder) -> Finding:
        """Return the finding with the paths of its files in the union, which `write` copies there.

        Raises:
            AuditError: A file is missing, cannot be read, or is outside the folder of its run.
        """

        def place(path: str) -> str:
            return self._place(path, home.path, trial)

        rows = (finding.pictures.truth, finding.pictures.reconstruction, finding.pictures.control)
        pictures = ImageFiles(*(tuple(map(place, row)) for row in rows))
        transcript = place(finding.transcript) if finding.transcript else ""
        return replace(finding, pictures=pictures, transcript=transcript)

    def write(self) -> None:
        """Copy the files. Raise `AuditError` if one cannot be read or written."""
        for path, source in self._sources.items():
            target = self._out / path
            make_folder(target.parent)
            write_whole(target, _content(source, path))

    def _place(self, path: str, home: Path, trial: str) -> str:
        """Return where a file goes: its own path, unless another file of the union has it."""
        source = _inside(home, path)
        digest = hashlib.sha256(_content(source, path)).hexdigest()
        folder, slash, name = path.rpartition("/")
        for target in (path, f"{folder}{slash}{short_name(trial)}-{name}"):
            if self._digests.setdefault(target, digest) == digest:
                self._sources.setdefault(target, source)
                return target
        raise AuditError(f"{home / path}: two different files of the union would have this name. Rename one of them.")


def short_name(trial: str) -> str:
    """Return a short text for file names and keys that differs from that of any other trial."""
    return hashlib.sha256(trial.encode()).hexdigest()[:12]


def carry_study_pictures(homes: Sequence[Path], out: Path) -> None:
    """Copy the images of studies that `out` lacks; equal names are those of the same cell."""
    for home in homes:
        for source in sorted((home / PICTURES).glob("*.png")):
            target = out / PICTURES / source.name
            if not source.is_symlink() and source.is_file() and not target.exists():
                make_folder(target.parent)
                write_whole(target, _content(source, str(source)))


def _paths(finding: Finding) -> Iterable[str]:
    pictures = finding.pictures
    transcript = (finding.transcript,) if finding.transcript else ()
    return (*pictures.truth, *pictures.reconstruction, *pictures.control, *transcript)


def _inside(folder: Path, path: str) -> Path:
    """Return the file at a relative path. Raise `AuditError` if it is missing or outside the folder."""
    try:
        file = (folder / path).resolve()
        plain = Path(path).parts
        inside = file.is_relative_to(folder.resolve()) and ".." not in plain and plain[:1] and plain[0] in HOMES
    except (ValueError, OSError, RuntimeError):  # a NUL character, a name too long, a loop of links
        raise AuditError(f"{folder}: {path!r} is no path of a file. Delete its line from trials.jsonl.") from None
    if not inside:
        raise AuditError(
            f"{folder}: {path} is outside the folders {' and '.join(HOMES)} of the run. Delete its line from "
            "trials.jsonl."
        )
    if not is_file(file):
        raise AuditError(f"{folder / path}: is missing. Restore it, or delete its case's line from trials.jsonl.")
    return file


def _content(source: Path, path: str) -> bytes:
    found = read_whole(source)
    if found is None:
        raise AuditError(f"{path}: was deleted meanwhile. Run the command again.")
    return found
