"""The modules that are mutated, and the paths of the tool's files."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "gradaudit"
BUILD = ROOT / "build" / "mutants"
MAP = BUILD / "coverage.json"

# The code that decides whether an audit is correct: files, and folders with all their files.
TARGETS = (
    *(f"inversion/parts/{name}" for name in ("objectives", "priors", "labels", "simulations")),
    *(f"inversion/step/{name}.py" for name in ("matching", "routes", "one_step")),
    *(f"inversion/run/{name}.py" for name in ("loop", "stage", "best", "restarts", "ensemble", "keeper")),
    *("values/chance.py", "values/finding.py"),
    *("metrics", "protocol/defenses", "protocol/local_training", "data/modalities"),
    *("client/participant.py", "client/aggregation.py", "client/granted.py"),
    *("audit/judge.py", "audit/attempt.py", "audit/plan.py", "audit/given.py", "audit/schedule.py"),
    *("report/verdict.py", "report/cases.py"),
)


def modules() -> list[str]:
    """Return every target file, relative to `src/gradaudit`, sorted."""
    found = []
    for target in TARGETS:
        path = SOURCE / target
        files = path.rglob("*.py") if path.is_dir() else [path]
        found += [file.relative_to(SOURCE).as_posix() for file in files]
    return sorted(found)
