"""The run's PNG files, read once and embedded byte for byte, and its transcripts."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..values.errors import AuditError
from ..values.files import is_file, read_whole
from ..values.records import parsed
from ..values.transcript import Transcript

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
AGAIN = "Put it back, or delete its case's line from results.jsonl and run the audit again."
SHOWN_SIZE = 128  # CSS pixels: large enough to judge by eye, small enough for a strip of four in half a page


@dataclass(frozen=True)
class Picture:
    """A picture as the page shows it.

    Args:
        data: The file as a `data:` address.
        width: In CSS pixels, an integer multiple of the picture's own width.
        height: In CSS pixels, the same multiple of its own height.
        alt: What it is, for those who do not see it.
    """

    data: str
    width: int
    height: int
    alt: str


class Album:
    """The pictures and the transcripts of one run.

    Args:
        folder: The run's folder, to which the paths are relative.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, bytes] = {}
        self._transcripts: dict[str, Transcript] = {}

    def digest(self, path: str) -> str:
        """Tells one picture from another by its file's content."""
        return hashlib.sha256(self._read(path)).hexdigest()

    def show(self, path: str, alt: str) -> Picture:
        """The picture at `path`. Raises `AuditError` where it is missing, lies elsewhere or is no whole PNG."""
        content = self._read(path)
        try:
            with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
                image.load()
                width, height = image.size
        except UNREADABLE as error:
            raise AuditError(f"{path}: not a PNG picture, or a damaged one ({error}). {AGAIN}") from None
        scale = max(1, SHOWN_SIZE // max(width, height))
        data = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
        return Picture(data, scale * width, scale * height, alt)

    def transcript(self, path: str) -> Transcript:
        """The texts or rows at `path`. Raises `AuditError` where it is missing, lies elsewhere or is no transcript."""
        if path not in self._transcripts:
            try:
                self._transcripts[path] = Transcript.from_json(parsed(self._read(path)))
            except ValueError as error:
                raise AuditError(f"{path}: not a transcript: {error}. {AGAIN}") from None
        return self._transcripts[path]

    def _read(self, path: str) -> bytes:
        if path not in self._files:
            file = self._inside(path)
            found = read_whole(file) if file is not None and is_file(file) else None
            if found is None:
                raise AuditError(f"{path}: no such picture or transcript in the run's folder. {AGAIN}")
            self._files[path] = found
        return self._files[path]

    def _inside(self, path: str) -> Path | None:
        """Where the file lies, `None` for what can be no path; raises `AuditError` where it lies outside the folder."""
        try:
            file = (self._folder / path).resolve()
        except (ValueError, OSError, RuntimeError):  # a NUL, a name too long, a circle of links
            return None
        if not file.is_relative_to(self._folder.resolve()):
            raise AuditError(f"{path}: lies outside the run's folder (a run's pictures belong into its own folder).")
        return file
