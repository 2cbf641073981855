"""The faults of a command line, and their counts by target."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from .run import SECONDS, Outcome

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
FAULTS = ("traceback", "hang", "silent", "lines", "control", "outside")
COUNTS = ("inputs", "refused", "accepted", "other", *FAULTS)
KNOWN = re.compile(r"[eE]rror: |note: |interrupted|\[\d+/\d+\] |\d+ of \d+ cases are already done\.")
FOREIGN = re.compile(
    r"Traceback \(most recent|^\S+\.py:\d+: |\w+Warning: |^Exception ignored|^\[[WE]\d* ", re.MULTILINE
)

Must = Literal["any", "refuse", "say"]


@dataclass(frozen=True)
class Input:
    """A command line, whose files are in its folder.

    Args:
        argv: The arguments after `gradaudit`.
        made: A description of the change; inputs with the same change and the same failure count as one fault.
        must: `refuse` if the input is wrong by construction, `say` if it must be refused or mentioned in a note.
        seconds: The most seconds that it may take.
    """

    argv: tuple[str, ...]
    made: str
    must: Must = "any"
    seconds: int = SECONDS


def faults(given: Input, outcome: Outcome) -> dict[str, str]:
    """Return kind of fault -> what distinguishes it from other faults of its kind."""
    found = {}
    if outcome.error or "Traceback (most recent" in outcome.out + outcome.err:
        found["traceback"] = outcome.place or _first(FOREIGN, outcome.out + outcome.err)
    works = outcome.code == 130 and "[1/" in outcome.err  # a long attack that Ctrl-C ended correctly
    if (outcome.seconds > given.seconds - 0.5 and not works) or outcome.place.startswith("Hang"):
        found = {"hang": outcome.place or f"{given.argv[0]}: {given.made}"}
    if outcome.code == 0 and not found:
        noted = "note: " in outcome.err or "cannot" in outcome.out + outcome.err
        if given.must == "refuse" or (given.must == "say" and not noted):
            found["silent"] = f"{given.argv[0]}: {given.made}"
    if not {"traceback", "hang"} & set(found) and (wrong := _line_too_many(outcome)):
        found["lines"] = re.sub(r"\d+", "0", wrong)[:100]
    hidden = next((c for c in outcome.out + outcome.err if c != "\n" and unicodedata.category(c) in HIDDEN), None)
    if hidden is not None and "traceback" not in found:
        found["control"] = f"{given.argv[0]}: {hidden!r}"
    if outcome.outside:
        found["outside"] = re.sub(r"\d+", "0", outcome.outside[0])
    return found


def _first(pattern: re.Pattern, text: str) -> str:
    match = pattern.search(text)
    return text[match.start() :].strip().splitlines()[-1] if match else ""


def _line_too_many(outcome: Outcome) -> str:
    """Return a line of standard error that is no error, note or progress of ours, or a second error of a refusal."""
    foreign = FOREIGN.search(outcome.err)
    if foreign:
        return outcome.err[foreign.start() :].splitlines()[0]
    lines = outcome.err.splitlines()
    if outcome.code == 0 or any(line.startswith("Usage: ") for line in lines):
        return ""
    if not lines:
        return f"exit code {outcome.code} without a word"
    if outcome.code == 2 and not lines[-1].startswith(("error: ", "Error: ")):
        return lines[-1]
    if any(line.startswith("[") for line in lines):  # a case began: findings are sentences of their own
        return ""
    return next((line for line in lines if not KNOWN.match(line)), "")


@dataclass
class Tally:
    """The counts of one target."""

    target: str
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome, found: dict[str, str]) -> None:
        """Add the result of one input."""
        end = {0: "accepted", 2: "refused"}.get(outcome.code, "other")
        self.counts.update(["inputs", *found, *([] if "traceback" in found or "hang" in found else [end])])
        self.seconds += outcome.seconds

    def to_json(self) -> dict:
        """Return one line of `--json`."""
        return {"target": self.target, "seconds": self.seconds, **{name: self.counts[name] for name in COUNTS}}


def added(lines: list[dict]) -> list[Tally]:
    """Return the sum of the tallies of several runs for each target, in the order of their first lines."""
    tallies: dict[str, Tally] = {}
    for line in lines:
        tally = tallies.setdefault(line["target"], Tally(line["target"]))
        tally.seconds += line["seconds"]
        tally.counts.update({name: line[name] for name in COUNTS})
    return list(tallies.values())


def table(tallies: list[Tally]) -> str:
    """Return a Markdown table with a row for each target, and their sum."""
    total = Tally("all", sum(t.seconds for t in tallies), sum((t.counts for t in tallies), Counter()))
    lines = [f"| target | {' | '.join(COUNTS)} | ms each |", "|---|" + "---|" * (len(COUNTS) + 1)]
    for tally in (*tallies, total):
        each = 1000 * tally.seconds / max(1, tally.counts["inputs"])
        lines.append(f"| {tally.target} | {' | '.join(str(tally.counts[n]) for n in COUNTS)} | {each:.0f} |")
    return "\n".join(lines)
