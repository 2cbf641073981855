"""Progress over all trials: done, failed, speed, time left, and what runs."""

import io

import pytest
from rich.console import Console

from gradaudit.commands import progress
from gradaudit.commands.progress import Pace, TerminalListener
from gradaudit.execution.journal import Failure
from gradaudit.values.terminal import duration
from toy_jobs import Square


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def listening(**options):
    console = Console(file=io.StringIO(), width=200, **options)
    return console, TerminalListener(console, lambda result: [(f"result {result}", "")])


def test_the_pace_by_hand(clock):
    pace = Pace()
    pace.begin(10, 40)  # ten are done already
    assert pace.text == "10 of 40 trials"
    for done in (11, 12, 13, 14):
        clock[0] += 15.0
        pace.end(done, 40)
    pace.failed = 2
    assert pace.text == "14 of 40 trials, 2 failed, 4 per minute, 6 min left"  # 24 trials of 15 s
    clock[0] += 60.0
    assert pace.text.endswith("5 min left")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5_000, "83 min"), (5_400, "1 h 30 min"), (90_000, "25 h 0 min")],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_a_terminal_shows_what_runs_and_how_much_is_done():
    console, listener = listening(force_terminal=True)
    with listener:
        watches = [listener.begin(Square(number), 1, 3) for number in (1, 2)]
        watches[0](30, 200, 0.25)
        listener.live.refresh()
        listener.end("nine", 1, 3)
        listener.finish(Square(1))
        listener.fail(Failure("x", "square 2", "it broke."), 1, 3)
        shown = console.file.getvalue()
        listener.live.refresh()
        later = console.file.getvalue()[len(shown) :]
    assert "square 1" in shown
    assert "30/200 steps" in shown
    assert "objective 0.25" in shown
    assert "[1/3] result nine" in shown
    assert "failed: square 2: it broke." in shown
    assert "square 1" not in later
    assert "1 of 3 trials, 1 failed" in later


def test_a_log_file_gets_lines_and_now_and_then_the_pace(clock):
    console, listener = listening()
    with listener:
        listener.begin(Square(1), 1, 2)
        listener.end("nine", 1, 2)
        clock[0] += 61.0
        listener.end("ten", 2, 2)
    assert console.file.getvalue().splitlines() == [
        "[1/2] square 1",
        "[1/2] result nine",
        "[2/2] result ten",
        "2 of 2 trials, 1.97 per minute, 0 s left",
    ]


def test_a_log_file_of_many_trials_is_quiet_about_their_starts():
    console, listener = listening()
    with listener:
        listener.begin(Square(1), 1, 51)
        listener.end("nine", 1, 51)
    assert console.file.getvalue() == "[1/51] result nine\n"


def test_a_job_that_starts_again_has_one_bar():
    _, listener = listening(force_terminal=True)
    with listener:
        for _ in range(3):
            watch = listener.begin(Square(1), 1, 2)
        assert len(listener.running.task_ids) == 1
        listener.finish(Square(1))
        watch(1, 2, 0.5)  # late news of a job that ended
        assert not listener.running.task_ids
