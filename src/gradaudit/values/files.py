"""Files that gradaudit writes: atomically, readable by their owner alone, with one-line errors."""

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

FILE_MODE, FOLDER_MODE = 0o600, 0o700  # a run contains private examples, so the umask is ignored
PART = ".gradaudit-part"  # suffix of files that are being written
BARE = getattr(os, "O_NOFOLLOW", 0) | getattr(
    os, "O_BINARY", 0
)  # do not follow links planted by others; binary mode on Windows
FIXES = {
    errno.ENOSPC: " Free some disk space, then run the same command again to resume.",
    errno.EDQUOT: " Free some disk space, then run the same command again to resume.",
    errno.EROFS: " Choose a folder that can be written to.",
    errno.EACCES: " Choose a folder that you have permission to use.",
    errno.EPERM: " Choose a folder that you have permission to use.",
    errno.ENAMETOOLONG: " Choose a shorter name.",
    errno.EEXIST: " Choose another folder, or move that file away.",
    errno.ENOTDIR: " Choose another folder, or move the file in its path away.",
    errno.ENOENT: " It was moved or deleted; run the command again.",
}


def is_file(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is there; there is none where the system refuses to look, or no file can have that name."""
    return os.path.isfile(path)


@contextmanager
def refused(path: Path, *, what: str = "written", option: str = "") -> Iterator[None]:
    """Convert an `OSError` inside the block to an `AuditError` with a one-line message.

    Args:
        path: Path to name in the message.
        what: What could not be done with it.
        option: Command-line option with which the user gave the path, if any.

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
    """Create a folder for its owner alone and return `path`. An existing folder keeps its mode.

    Args:
        path: Path of the folder.
        above: Whether to create the parent folders too. Inside a run, that would recreate a deleted folder.
        option: Command-line option with which the user gave the path, if any.

    Raises:
        AuditError: The folder cannot be created.
    """
    for folder in reversed((path, *path.parents)) if above else (path,):
        with refused(folder, what="created", option=option):
            if folder.is_dir():
                continue
            try:
                folder.mkdir(FOLDER_MODE)
            except FileExistsError:
                if not folder.is_dir():  # another process may have created it meanwhile
                    raise
            else:
                folder.chmod(FOLDER_MODE)  # the umask may have removed permissions of the owner
                _settle(folder.parent)
    return path


def write_whole(path: Path, content: str | bytes) -> Path:
    """Write `content` to `path` atomically, readable by its owner alone, and return `path`.

    Raises:
        AuditError: The file cannot be written. An existing file is then unchanged.
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
    """Delete half-written files of killed processes in a folder and its direct subfolders."""
    for pattern in (f".*{PART}", f"*/.*{PART}"):
        delete(folder, pattern)


def delete(folder: Path, pattern: str) -> None:
    """Delete the files of a folder that match a `Path.glob` pattern. Raise `AuditError` if one cannot be deleted."""
    for path in folder.glob(pattern):
        with refused(path, what="deleted"):
            path.unlink(missing_ok=True)


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one record as a line of JSON and flush it to disk; a partial line is removed.

    Raises:
        AuditError: The line cannot be written.
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
            if os.fstat(descriptor).st_size == before + done:  # otherwise another process has appended since
                os.ftruncate(descriptor, before)
            raise
        finally:
            os.close(descriptor)
        if before == 0:
            _settle(path.parent)


def read_whole(path: Path) -> bytes | None:
    """Return the bytes of a file, or `None` if it does not exist. Raise `AuditError` if it cannot be read."""
    with refused(path, what="read"):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None


def set_aside(path: Path) -> Path:
    """Rename a damaged file to `NAME.damaged`, replacing an older one, and return the new path."""
    aside = path.with_name(f"{path.name}.damaged")
    with refused(path, what="renamed"):
        os.replace(path, aside)
    return aside


def as_image(picture: Tensor) -> Image.Image:
    """Return a greyscale or colour image `[C, H, W]` in [0, 1] as 8-bit pixels; values are clamped, NaN is mid-grey."""
    pixels = picture.nan_to_num(nan=0.5).mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    return Image.fromarray(np.ascontiguousarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels))


def png(picture: Tensor) -> bytes:
    """Return an image `[C, H, W]` in [0, 1] as a PNG."""
    file = io.BytesIO()
    as_image(picture).save(file, "PNG")
    return file.getvalue()


def _for_owner_alone(descriptor: int) -> None:
    with suppress(OSError, AttributeError):  # a file of another user, or a file system without modes
        os.fchmod(descriptor, FILE_MODE)


def _settle(folder: Path) -> None:
    """Flush the entries of a folder to disk, so that a renamed file survives a power cut."""
    with suppress(OSError):  # not supported on Windows and some file systems; the file itself is on disk
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
