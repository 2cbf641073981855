"""The PNG files of a run, read once and embedded byte for byte, and its transcripts."""

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
AGAIN = "Restore it, or delete its case's line from trials.jsonl and run the audit again."
SHOWN_SIZE = 128  # CSS pixels: large enough to judge by eye, small enough for a strip of four in half a page


@dataclass(frozen=True)
class Picture:
    """An image as the page shows it.

    Args:
        data: The file as a `data:` URL.
        width: In CSS pixels, an integer multiple of the image's width.
        height: In CSS pixels, the same multiple of the image's height.
        alt: Alternative text.
    """

    data: str
    width: int
    height: int
    alt: str


class Album:
    """The images and the transcripts of one run.

    Args:
        folder: The folder of the run, to which paths are relative.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, bytes] = {}
        self._transcripts: dict[str, Transcript] = {}

    def digest(self, path: str) -> str:
        """Return a hash of the file at `path`, which identifies the image."""
        return hashlib.sha256(self._read(path)).hexdigest()

    def show(self, path: str, alt: str, size: int = SHOWN_SIZE) -> Picture:
        """Return the image at `path`, enlarged to at most `size` pixels.

        Raises:
            AuditError: It is missing, outside the folder, or not a whole PNG.
        """
        width, height = self._image(path).size
        scale = max(1, size // max(width, height))
        data = "data:image/png;base64," + base64.b64encode(self._read(path)).decode("ascii")
        return Picture(data, scale * width, scale * height, alt)

    def cut(self, path: str, columns: int) -> list[list[Image.Image]]:
        """Return the square images of a sheet with this many columns, row by row; errors as of `show`."""
        sheet = self._image(path)
        side = sheet.width // columns
        if not side or sheet.width % columns or sheet.height % side:
            raise AuditError(f"{path}: not a sheet of {columns} square images in each row. {AGAIN}")
        return [
            [sheet.crop((left, top, left + side, top + side)) for left in range(0, sheet.width, side)]
            for top in range(0, sheet.height, side)
        ]

    def _image(self, path: str) -> Image.Image:
        try:
            with Image.open(io.BytesIO(self._read(path)), formats=["PNG"]) as image:
                image.load()
                return image
        except UNREADABLE as error:
            raise AuditError(f"{path}: not a PNG image, or a damaged one ({error}). {AGAIN}") from None

    def transcript(self, path: str) -> Transcript:
        """Return the texts or rows at `path`. Raise `AuditError` if it is missing, outside the folder, or malformed."""
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
                raise AuditError(f"{path}: no such image or transcript in the folder of the run. {AGAIN}")
            self._files[path] = found
        return self._files[path]

    def _inside(self, path: str) -> Path | None:
        """Return the resolved path, or `None` if it cannot be one. Raise `AuditError` if it is outside the folder."""
        try:
            file = (self._folder / path).resolve()
        except (ValueError, OSError, RuntimeError):  # a NUL character, a name too long, a loop of links
            return None
        if not file.is_relative_to(self._folder.resolve()):
            raise AuditError(f"{path}: is outside the run's folder, but the images of a run must be inside it.")
        return file
