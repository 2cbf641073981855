"""One process at a time in an output folder, and no folder that stays shut."""

import errno
import json
import os
import platform
import re
import signal
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from gradaudit.execution import Results, lock, locked
from gradaudit.execution.lock import Holder
from gradaudit.values.errors import AuditError
from gradaudit.values.finding import RunRecord
from test_files import refusing

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the other process locks as POSIX does")
RUN = RunRecord("t", "c", "s", 1)
HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
file.write(sys.argv[2].replace("PID", str(__import__("os").getpid())))
file.flush()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds `tmp_path`."""
    told = json.dumps(asdict(Holder.me())).replace(f'"pid": {os.getpid()}', '"pid": PID')
    command = [sys.executable, "-S", "-c", HOLD, str(tmp_path / ".lock"), told]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_and_a_dead_one_is_not_in_the_way(tmp_path, other):
    for act in (lambda: Results(tmp_path, RUN), lambda: locked(tmp_path).__enter__()):
        with pytest.raises(
            AuditError, match=rf"^--out {re.escape(str(tmp_path))}: process {other.pid} has been writing there since 20"
        ):
            act()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (tmp_path / ".lock").exists()  # stale
    with locked(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_it_ends_however_the_run_ends(tmp_path, error):
    with pytest.raises(error), locked(tmp_path):
        raise error
    assert not list(tmp_path.iterdir())
    with locked(tmp_path):
        assert (tmp_path / ".lock").exists()
    assert not list(tmp_path.iterdir())


def test_not_twice_in_one_process_either(tmp_path):
    with locked(tmp_path), pytest.raises(AuditError, match=f"process {os.getpid()} "), locked(tmp_path):
        pass


def leave(folder, **changes):
    """What a process that was killed left behind."""
    (folder / ".lock").write_text(json.dumps(asdict(replace(Holder.me(), pid=2**22 + 1, **changes))))


def test_the_lock_of_another_host_is_respected(tmp_path):
    leave(tmp_path, host="elsewhere")
    with pytest.raises(
        AuditError, match=r"process \d+ on elsewhere has .* If it no longer runs there, delete .*/\.lock\.$"
    ):
        Results(tmp_path, RUN)
    (tmp_path / ".lock").unlink()
    assert Results(tmp_path, RUN).findings == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff"])
def test_a_lock_that_says_nothing_is_taken(tmp_path, content):
    (tmp_path / ".lock").write_bytes(content)
    with locked(tmp_path):
        assert b"started" in (tmp_path / ".lock").read_bytes()


def test_a_holder_that_has_not_written_itself_down_is_still_there(tmp_path, other, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE", 2)
    (tmp_path / ".lock").write_bytes(b"")
    with pytest.raises(AuditError, match="another process writes there"), locked(tmp_path):
        pass


class TestWithoutSystemLocks:
    """A file system that has none: what is written down decides."""

    @pytest.fixture(autouse=True)
    def _none(self, monkeypatch):
        def refuse(descriptor):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(lock, "_seize", refuse)

    def test_a_process_that_lives_is_respected(self, tmp_path, other):
        with pytest.raises(AuditError, match=f"process {other.pid} "), locked(tmp_path):
            pass
        other.kill()
        other.wait()
        with locked(tmp_path):
            pass
        assert not list(tmp_path.iterdir())

    def test_after_a_reboot_it_is_taken(self, tmp_path):
        mine = replace(Holder.me(), boot="before")
        (tmp_path / ".lock").write_text(json.dumps(asdict(mine)))
        with locked(tmp_path):
            pass

    def test_the_lock_of_another_host_is_respected(self, tmp_path):
        leave(tmp_path, host="elsewhere")
        with pytest.raises(AuditError, match="on elsewhere"), locked(tmp_path):
            pass


def test_where_no_lock_can_be_written(tmp_path, monkeypatch):
    refusing(monkeypatch, "open", errno.EROFS)
    with pytest.raises(AuditError, match=r"\.lock: cannot be written: Read-only file system\. Choose a folder"):
        Results(tmp_path, RUN)


def test_the_folder_may_vanish_meanwhile(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with locked(folder):
        (folder / ".lock").unlink()
        folder.rmdir()
    assert not folder.exists()


def test_a_lock_that_was_deleted_by_hand_is_not_the_next_ones(tmp_path):
    with locked(tmp_path):
        (tmp_path / ".lock").unlink()
        (tmp_path / ".lock").write_text("another's")
    assert (tmp_path / ".lock").read_text() == "another's"


def test_who_holds_it(monkeypatch):
    me = Holder.me()
    assert (me.pid, me.host, me.here, me.gone) == (os.getpid(), platform.node(), True, False)
    assert replace(me, pid=2**22 + 1).gone
    assert not replace(me, pid=2**22 + 1, host="elsewhere").gone
