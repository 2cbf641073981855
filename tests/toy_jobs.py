"""Jobs that need no model: they compute a square, raise, or kill their process."""

import os
import time
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path

from gradaudit.execution.journal import TRIALS, Journal
from gradaudit.execution.trial import TrialOutcome
from gradaudit.values.records import content_name


@dataclass(frozen=True)
class Base:
    """A setting that counts how often it is opened."""

    folder: Path
    number: int = 10
    uses_gpu: bool = False

    def open(self):
        with (self.folder / "opened").open("a") as file:
            file.write(f"{os.getpid()}\n")
        return self.number


@dataclass(frozen=True)
class Unopened(Base):
    """A setting that cannot be opened."""

    def open(self):
        raise OSError("no such model")


@dataclass(frozen=True)
class Unsent(Base):
    """A setting that cannot be sent to another process."""

    secret: object = field(default_factory=lambda: lambda: 0)


@dataclass(frozen=True)
class Square:
    """Returns the square of the base plus a number, after some time."""

    number: int
    seconds: float = 0.0
    setting: int = 0

    @property
    def trials(self):
        return (content_name(self.number),)

    @property
    def title(self):
        return f"square {self.number}"

    @property
    def checkpoint(self):
        return self.trials[0]

    def left(self, done):
        return None if self.trials[0] in done else self

    def run(self, opened, watch, keep):
        if watch:
            watch(1, 2, 0.5)
        time.sleep(self.seconds)
        files = {f"images/{self.number}.txt": str(self.number).encode()}
        yield TrialOutcome(
            self.trials[0],
            self.title,
            {"trial": self.trials[0], "square": (opened + self.number) ** 2, "by": os.getpid()},
            files,
        )


@dataclass(frozen=True)
class Raising(Square):
    """Raises an error."""

    def run(self, opened, watch, keep):
        raise ZeroDivisionError("by nothing")


@dataclass(frozen=True)
class Dying(Square):
    """Kills its process for the first `times` starts, which it counts in a file."""

    times: int = 1
    folder: Path = Path()

    def run(self, opened, watch, keep):
        starts = self.folder / f"starts-{self.number}"
        with starts.open("a") as file:
            file.write("x")
        if starts.stat().st_size <= self.times:
            os._exit(9)
        yield from super().run(opened, watch, keep)


@dataclass(frozen=True)
class Lasting(Square):
    """Counts to four in its checkpoint, and kills its process once, in the middle."""

    def run(self, opened, watch, keep):
        path = keep.with_name(f"{keep.name}-0.pt")
        path.parent.mkdir(exist_ok=True)
        for step in range(len(path.read_text()) if path.exists() else 0, 4):
            path.write_text("x" * (step + 1))
            with keep.parent.parent.joinpath("steps").open("a") as file:
                file.write(f"{step}\n")
            if step == 2 and not (path.parent / "died").exists():
                (path.parent / "died").touch()
                os._exit(9)
        yield from super().run(opened, watch, keep)


@dataclass(frozen=True)
class Meeting(Square):
    """Waits until a meeting of another process has begun, so that two workers take part, however late one starts."""

    folder: Path = Path()

    def run(self, opened, watch, keep):
        (self.folder / f"met-{os.getpid()}").touch()
        end = time.monotonic() + 120
        while len(list(self.folder.glob("met-*"))) < 2 and time.monotonic() < end:
            time.sleep(0.1)
        yield from super().run(opened, watch, keep)


class Folder:
    """The folder of a run of such jobs."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.journal = Journal(folder / TRIALS, dict, itemgetter("trial"))
        self.journal.read(mend=True)

    @property
    def squares(self):
        return sorted(result["square"] for result in self.journal.results.values())


def stillborn(*_):
    """What a worker runs that dies before it begins."""
    os._exit(1)
