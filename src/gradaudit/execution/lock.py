"""A lock that lets only one process at a time write to an output folder."""

from __future__ import annotations

import errno
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from ..values.errors import AuditError
from ..values.files import BARE, FILE_MODE, refused, sweep
from ..values.records import checked, parsed

if sys.platform == "win32":
    import msvcrt

    FAR = 2**30  # Windows locks bytes, also against readers: lock one beyond the end of the file

    def _seize(descriptor: int) -> None:
        os.lseek(descriptor, FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _seize(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


NAME = ".lock"
HELD = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES)
UNKNOWN = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)  # a file system without locks
PATIENCE = 20  # attempts, 10 ms apart, to read a lock file whose holder has not written its name yet


@dataclass(frozen=True)
class Holder:
    """The process that holds the lock of a folder.

    Args:
        pid: Its process id.
        host: The name of its machine.
        started: Local time at which it took the lock.
        boot: Identifier of the start of that machine, or empty.
    """

    pid: int
    host: str
    started: str
    boot: str = ""

    @classmethod
    def me(cls) -> Holder:
        """Return the holder that describes this process."""
        return cls(os.getpid(), platform.node(), datetime.now().isoformat(" ", "seconds"), _boot())

    @property
    def here(self) -> bool:
        """Whether the process runs on this machine."""
        return self.host == platform.node()

    @property
    def gone(self) -> bool:
        """Whether the process has certainly ended; used where the file system has no locks."""
        if not self.here:
            return False
        if self.boot != _boot():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False  # somebody else's process
        return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock an existing folder while results are written to it, so that no other process writes there.

    The lock is that of the operating system: it ends with the process, however that ends. The file `.lock` names the
    holder. On a file system without locks this file alone decides. It is deleted afterwards.

    Raises:
        AuditError: Another process holds the folder (the message names it), or the lock file cannot be written.
    """
    path = folder / NAME
    with refused(path):
        descriptor = _taken(path, folder)
    try:
        sweep(folder)
        yield
    finally:
        with suppress(OSError):  # the folder may be gone; the lock ends with the descriptor in any case
            if _is(path, descriptor):
                path.unlink()
        os.close(descriptor)
        with suppress(OSError):
            if os.name == "nt":  # Windows cannot unlink an open file
                path.unlink()


def holder_of(folder: Path) -> bytes:
    """Return the contents of the lock file of a folder, which name the process that writes there; empty without one."""
    try:
        return (folder / NAME).read_bytes()
    except OSError:
        return b""


def _taken(path: Path, folder: Path) -> int:
    """Return a descriptor of the lock file that holds the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | BARE, FILE_MODE)
        try:
            free = _free(descriptor)
            if free is False:
                raise AuditError(_busy(folder, _holder(path, PATIENCE)))
            if _is(path, descriptor):
                _claim(path, folder, descriptor, by_system=free is True)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the holder has just removed the file


def _claim(path: Path, folder: Path, descriptor: int, *, by_system: bool) -> None:
    """Write this process to the lock file, unless the process named there may still run."""
    before = _holder(path)
    if before is not None and not (before.gone if not by_system else before.here):
        hint = "" if before.here else f" If it no longer runs there, delete {path}."
        raise AuditError(_busy(folder, before) + hint)
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(asdict(Holder.me())).encode())


def _free(descriptor: int) -> bool | None:
    """Return whether the system gave this process the lock, or `None` if the file system has no locks."""
    try:
        _seize(descriptor)
    except OSError as error:
        if error.errno not in (*HELD, *UNKNOWN):
            raise
        return False if error.errno in HELD else None
    return True


def _holder(path: Path, looks: int = 1) -> Holder | None:
    """Return the holder that the lock file names, or `None` if it names none that can be read."""
    for look in range(looks):
        if look:
            time.sleep(0.01)
        with suppress(ValueError, OSError):
            return checked(Holder, parsed(path.read_bytes()))
    return None


def _busy(folder: Path, holder: Holder | None) -> str:
    if holder is None:
        return f"--out {folder}: another process writes there. Wait for it, or choose another folder."
    where = "" if holder.here else f" on {holder.host}"
    return (
        f"--out {folder}: process {holder.pid}{where} has been writing there since {holder.started}. Wait for it, or "
        "choose another folder."
    )


def _is(path: Path, descriptor: int) -> bool:
    """Return whether the path still leads to the open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""
