"""Our own files: written whole or not at all, for their owner alone, and with one line where that cannot be."""

import errno
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from .errors import AuditError

FILE_MODE, FOLDER_MODE = 0o600, 0o700  # a run holds private samples, whatever the umask says
PART = ".gradaudit-part"  # ends the name of a file that is being written
BARE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)  # no link planted by others; bytes on Windows, too
FIXES = {
    errno.ENOSPC: " Make room; the same command then goes on.",
    errno.EDQUOT: " Make room; the same command then goes on.",
    errno.EROFS: " Take a folder that can be written to.",
    errno.EACCES: " Take a folder that you may use.",
    errno.EPERM: " Take a folder that you may use.",
    errno.ENAMETOOLONG: " Take a shorter name.",
    errno.EEXIST: " Take another folder, or move that file away.",
    errno.ENOTDIR: " Take another folder, or move the file in its path away.",
    errno.ENOENT: " It was moved or deleted; run the command again.",
}


def is_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is there; there is none where the system refuses to look, or no file can have that name."""
    return os.path.isfile(path)


@contextmanager
def refused(path: Path, *, what: str = "written", option: str = "") -> Iterator[None]:
    """Turn what the operating system refuses into one line: the only place that does so for our own files.

    Args:
        path: Named in the message.
        what: What cannot be done with it.
        option: Of the command line, by which the user gave it.

    Raises:
        AuditError: Something inside raised `OSError`.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        name, fix = f"{option} {path}".strip(), FIXES.get(error.errno or 0, "")
        raise AuditError(f"{name}: cannot be {what}: {reason}.{fix}") from error


def make_folder(path: Path, *, above: bool = True, option: str = "") -> Path:
    """Make a folder for its owner alone where it is missing, and return `path`; one that is there keeps its mode.

    Args:
        path: Of the folder.
        above: Make those above it, too. Inside a run's folder that would bring back what somebody deleted.
        option: Of the command line, by which the user gave it.

    Raises:
        AuditError: It cannot be made.
    """
    for folder in reversed((path, *path.parents)) if above else (path,):
        with refused(folder, what="made", option=option):
            if folder.is_dir():
                continue
            try:
                folder.mkdir(FOLDER_MODE)
            except FileExistsError:
                if not folder.is_dir():  # another process may have made it just now
                    raise
            else:
                folder.chmod(FOLDER_MODE)  # the umask may have taken away what the owner needs
                _settle(folder.parent)
    return path


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write `content` to `path` whole or not at all, for its owner alone, and return `path`.

    Raises `AuditError` where it cannot be written; what was there before is then still there.
    """
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    with refused(path):
        try:
            unfinished.unlink(missing_ok=True)
            descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BARE, FILE_MODE)
            with open(descriptor, "wb") as file:
                _for_owner_alone(descriptor)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
        _settle(path.parent)
    return path


def sweep(folder: Path) -> None:
    """Delete what processes that were killed left half-written in a folder and those directly in it."""
    for pattern in (f".*{PART}", f"*/.*{PART}"):
        delete(folder, pattern)


def delete(folder: Path, pattern: str) -> None:
    """Delete the files of a folder that a pattern of `Path.glob` finds; raises `AuditError` where that cannot be."""
    for path in folder.glob(pattern):
        with refused(path, what="deleted"):
            path.unlink(missing_ok=True)


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Write one record as a line of JSON so that it survives whatever comes next, or not at all.

    Raises `AuditError` where it cannot be written.
    """
    line = memoryview((json.dumps(record, allow_nan=False) + "\n").encode())
    with refused(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | BARE, FILE_MODE)
        before, done = os.fstat(descriptor).st_size, 0
        try:
            _for_owner_alone(descriptor)
            while done < len(line):
                done += os.write(descriptor, line[done:])
            os.fsync(descriptor)
        except OSError:
            if os.fstat(descriptor).st_size == before + done:  # else another process has written behind it
                os.ftruncate(descriptor, before)
            raise
        finally:
            os.close(descriptor)
        if before == 0:
            _settle(path.parent)


def read_whole(path: Path) -> bytes | None:
    """The bytes of a file, `None` where there is none; raises `AuditError` where it cannot be read."""
    with refused(path, what="read"):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def set_aside(path: Path) -> Path:
    """Rename a file that cannot be used to `NAME.damaged`, over an older one, and return the new path."""
    aside = path.with_name(f"{path.name}.damaged")
    with refused(path, what="renamed"):
        os.replace(path, aside)
    return aside


def as_image(picture: Tensor) -> Image.Image:
    """`[C, H, W]`, grey or colour in [0, 1], as 8-bit pixels; what lies outside is clamped, no number is mid grey."""
    pixels = picture.nan_to_num(nan=0.5).mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(np.ascontiguousarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels))


def write_picture(path: Path, picture: Tensor) -> None:
    """Save `as_image` of a picture as a PNG, in a folder that is made where it is missing."""
    file = io.BytesIO()
    as_image(picture).save(file, "PNG")
    make_folder(path.parent, above=False)
    write_whole(path, file.getvalue())


def _for_owner_alone(descriptor: int) -> None:
    with suppress(OSError, AttributeError):  # somebody else's file, a file system or a Windows without modes
        os.fchmod(descriptor, FILE_MODE)


def _settle(folder: Path) -> None:
    """Put the names in a folder onto the disk, so that a renamed file is there after a power cut."""
    with suppress(OSError):  # a Windows or a file system that has no such thing; the file itself is on the disk
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
