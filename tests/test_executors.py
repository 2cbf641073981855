"""Trials on executors: equal results everywhere, nothing lost, nothing twice."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradaudit
from conftest import linear_net, make_batch
from gradaudit.execution import EXECUTORS, Listener, locked, make_executor
from gradaudit.execution.executors import process_pool
from gradaudit.execution.executors.process_pool import DIED, ProcessPool
from gradaudit.execution.executors.serial import Serial
from gradaudit.execution.runner import require_complete, run_trials
from gradaudit.values.errors import AuditError
from toy_jobs import Base, Dying, Folder, Lasting, Raising, Square, Unopened, Unsent, stillborn

SQUARES = [(10 + number) ** 2 for number in range(6)]
HERE = Path(__file__).parent


class Notes(Listener):
    """Writes down what it is told."""

    def __init__(self):
        self.begun, self.ended, self.failed, self.finished, self.steps = [], [], [], [], []

    def begin(self, job, number, total):
        self.begun.append((job.title, number, total))
        return lambda *step: self.steps.append(step)

    def end(self, result, number, total):
        self.ended.append((result["square"], number, total))

    def fail(self, failure, number, total):
        self.failed.append(failure.line)

    def finish(self, job):
        self.finished.append(job.title)


def run(folder, jobs, executor, setting=None, notes=None, **options):
    """Run jobs in a folder, and return it with what the listener was told."""
    store, notes = Folder(folder), notes or Notes()
    with locked(folder):
        run_trials([setting or Base(folder)], jobs, store, executor, notes, **options)
    return store, notes


@pytest.mark.parametrize("executor", [Serial(), ProcessPool(2)], ids=["serial", "pool"])
def test_every_trial_is_computed_once_and_settings_open_once_per_worker(tmp_path, executor):
    store, notes = run(tmp_path, [Square(number) for number in range(6)], executor)
    assert store.squares == SQUARES
    assert sorted(notes.ended) == sorted((square, n, 6) for (square, n, _) in notes.ended)
    assert [number for _, number, _ in notes.ended] == [1, 2, 3, 4, 5, 6]
    assert len(notes.begun) == len(notes.finished) == 6
    assert (1, 2, 0.5) in notes.steps
    opened = (tmp_path / "opened").read_text().split()
    workers = {str(result["by"]) for result in store.journal.results.values()}
    assert sorted(opened) == sorted(workers)  # once each
    assert (str(os.getpid()) in workers) == isinstance(executor, Serial)
    assert sorted(path.read_text() for path in (tmp_path / "images").iterdir()) == list("012345")
    _, again = run(tmp_path, [Square(number) for number in range(7)], executor)
    assert [title for title, _, _ in again.begun] == ["square 6"]
    assert again.begun[0][1:] == (7, 7)


@pytest.mark.parametrize("executor", [Serial(), ProcessPool(2)], ids=["serial", "pool"])
def test_a_trial_that_raises_stops_no_other_and_is_computed_again(tmp_path, executor):
    jobs = [Raising(9), *(Square(number) for number in range(6))]
    store, notes = run(tmp_path, jobs, executor)
    assert store.squares == SQUARES
    assert notes.failed == ["square 9: ZeroDivisionError: by nothing."]
    (failure,) = store.journal.failures.values()
    assert "in run" in failure.trace
    with pytest.raises(
        AuditError, match=r"^1 of 7 trials failed: square 9: ZeroDivisionError: by nothing\. All others"
    ):
        require_complete([failure.line], 7)
    store, notes = run(tmp_path, [Square(9), *jobs[1:]], executor)
    assert [title for title, _, _ in notes.begun] == ["square 9"]
    assert not store.journal.failures
    assert len(store.squares) == 7


def test_the_first_failure_stops_the_others_on_request(tmp_path):
    with pytest.raises(AuditError, match="ZeroDivisionError"):
        run(tmp_path, [Raising(9), *(Square(number) for number in range(6))], Serial(), stop_on_error=True)
    assert not Folder(tmp_path).squares


def test_a_process_that_dies_is_replaced_and_its_job_starts_again(tmp_path):
    """Three deaths are forgiven, a fourth is not; the jobs of other processes are untouched."""
    jobs = [Dying(20, folder=tmp_path, times=3), Dying(21, folder=tmp_path, times=4), *map(Square, range(6))]
    store, notes = run(tmp_path, jobs, ProcessPool(2))
    assert store.squares == [*SQUARES, 900]
    assert notes.failed == [f"square 21: {DIED}"]
    assert [(tmp_path / f"starts-{number}").stat().st_size for number in (20, 21)] == [4, 4]


def test_a_long_attack_goes_on_in_another_process(tmp_path):
    store, _ = run(tmp_path, [Lasting(3)], ProcessPool(1))
    assert store.squares == [169]
    assert (tmp_path / "steps").read_text().split() == ["0", "1", "2", "3"]
    assert not list(tmp_path.glob("unfinished/*.pt"))


def test_a_setting_that_cannot_be_opened_fails_its_trials(tmp_path):
    for executor in (Serial(), ProcessPool(1)):
        _, notes = run(tmp_path, [Square(1)], executor, Unopened(tmp_path))
        assert notes.failed == ["square 1: OSError: no such model."]


def test_a_setting_that_cannot_be_sent_is_one_line(tmp_path):
    with pytest.raises(
        AuditError, match=r"^--executor pool: the client or its trial cannot be sent to another process: .*serial"
    ):
        run(tmp_path, [Square(1)], ProcessPool(1), Unsent(tmp_path))


def test_ctrl_c_ends_all_processes_and_keeps_what_is_done(tmp_path):
    class Stop(Notes):
        def end(self, result, number, total):
            raise KeyboardInterrupt

    store = Folder(tmp_path)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        run_trials([Base(tmp_path)], [Square(2, 60.0), Square(1, 1.0)], store, ProcessPool(2), Stop())
    assert time.monotonic() - started < 40
    assert Folder(tmp_path).squares == [121]
    workers = (tmp_path / "opened").read_text().split()
    assert not any(alive(int(pid)) for pid in workers)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "zombie" not in Path(f"/proc/{pid}/status").read_text() if Path(f"/proc/{pid}").exists() else True


def test_a_process_that_never_begins_is_explained(tmp_path, monkeypatch):
    """So ends a process of a script without `if __name__ == "__main__":`, which runs the script again."""
    monkeypatch.setattr(process_pool, "_serve", stillborn)
    _, notes = run(tmp_path, [Square(1), Square(2)], ProcessPool(2))
    assert sorted(notes.failed) == [f"square {number}: {process_pool.UNBORN}" for number in (1, 2)]


KILLED = """
import sys
from pathlib import Path
from gradaudit.execution.executors import process_pool
from gradaudit.execution.executors.process_pool import DIED, ProcessPool
from test_executors import run
from toy_jobs import Square
if __name__ == "__main__":
    run(Path(sys.argv[1]), [Square(number, 0.2) for number in range(40)], ProcessPool(2))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_run_leaves_no_process_and_goes_on(tmp_path):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    folder = tmp_path / "run"
    paths = os.pathsep.join([str(HERE), str(Path(gradaudit.__file__).parents[1])])
    process = subprocess.Popen([sys.executable, script, folder], env={**os.environ, "PYTHONPATH": paths})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not (folder / "trials.jsonl").exists() or len(lines(folder)) < 3):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(lines(folder))
    assert 3 <= done < 40
    while any(alive(int(pid)) for pid in (folder / "opened").read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    store, notes = run(folder, [Square(number) for number in range(40)], Serial())
    assert store.squares == [(10 + number) ** 2 for number in range(40)]
    assert len(notes.begun) == 40 - done
    assert len({json.loads(line)["trial"] for line in lines(folder)}) == len(lines(folder)) == 40


def lines(folder):
    """The complete lines of a journal."""
    return [line for line in (folder / "trials.jsonl").read_text().splitlines(keepends=True) if line.endswith("\n")]


@given(st.integers(1, 5), st.integers(0, 12))
def test_parts_are_the_whole_and_share_nothing(tmp_path_factory, parts, count):
    folder = tmp_path_factory.mktemp("parts")
    for part in range(1, parts + 1):
        store, notes = run(folder, [Square(number) for number in range(count)], Serial(), shard=(part, parts))
        assert len(notes.begun) == len(range(part - 1, count, parts))
    assert len(store.squares) == count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "pol", "workers": None}, "--executor pol: unknown executor. Did you mean pool"),
        ({"name": None, "workers": 0}, "--workers 0: must be at least 1"),
        ({"name": "pool", "workers": -3}, "--workers -3: must be at least 1"),
        ({"name": "serial", "workers": 2}, "--workers 2: --executor serial has one"),
        ({"name": "pool", "workers": 2, "address": "a:1"}, "--ray-address a:1: is for --executor ray, not pool"),
        ({"name": None, "workers": 2, "threads": 0}, "--threads 0: must be at least 1"),
    ],
)
def test_options_that_contradict_each_other_are_one_line(options, message):
    with pytest.raises(AuditError, match=message):
        make_executor(**options)


def test_the_executor_follows_from_the_options():
    assert make_executor(None, None) == Serial(threads=None)
    assert make_executor(None, None, usual=2) == ProcessPool(2, threads=1)
    assert make_executor(None, 1) == Serial(1, threads=1)
    assert make_executor(None, 3, threads=2) == ProcessPool(3, threads=2)
    assert type(make_executor(None, None, address="10.0.0.1:6379")) is EXECUTORS["ray"]
    assert set(EXECUTORS) == {"serial", "pool", "ray"}


def test_a_run_from_python_is_equal_in_several_processes():
    client = gradaudit.Client(linear_net(pixels=16), defenses=[gradaudit.defenses.GaussianNoise(1e-3)])
    batches = [make_batch(2, side=4, classes=5, seed=seed) for seed in range(2)]
    found = [gradaudit.run(client, batches, ["idlg", "april"], "priors", workers=workers) for workers in (1, 2)]
    ours, theirs = ([{**finding.to_json(), "seconds": 0} for finding in one.findings] for one in found)
    assert ours == theirs
