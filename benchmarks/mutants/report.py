"""The results by module as Markdown, and the mutants that are known to have no effect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .judge import Judged

EQUIVALENT = Path(__file__).with_name("equivalent.txt")


def equivalent() -> set[tuple[str, str, str]]:
    """Return module, before and after of every mutant in the file, whose blocks are these three and a reason."""
    blocks = EQUIVALENT.read_text(encoding="utf-8").split("\n\n") if EQUIVALENT.exists() else []
    lines = [[line for line in block.splitlines() if not line.startswith("#")] for block in blocks]
    return {(block[0], block[1], block[2]) for block in lines if len(block) >= 4}


def wilson(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a share, by Wilson's score (1927)."""
    share, spread = hits / of, z * z / of
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * (share * (1 - share) / of + spread / (4 * of)) ** 0.5
    return middle - half, middle + half


def table(outcomes: Sequence[Judged]) -> str:
    """Return the killed and surviving mutants by module and in total, and the list of survivors."""
    lines = ["| module | mutants | killed | of these by time | survived |", "|---|---|---|---|---|"]
    by_module: dict[str, list[Judged]] = {}
    for one in outcomes:
        assert one.job.mutant is not None
        by_module.setdefault(one.job.mutant.module, []).append(one)
    for module, some in [*by_module.items(), ("**all**", list(outcomes))]:
        counts = [sum(one.outcome == name for one in some) for name in ("killed", "timeout", "survived")]
        lines.append(f"| {module} | {len(some)} | {counts[0] + counts[1]} | {counts[1]} | {counts[2]} |")
    killed = sum(one.outcome != "survived" for one in outcomes)
    if outcomes:
        low, high = wilson(killed, len(outcomes))
        share = f"Killed: {killed} of {len(outcomes)}, {100 * killed / len(outcomes):.1f} %"
        lines += ["", f"{share} (95 % interval {100 * low:.1f} to {100 * high:.1f} %)."]
    survivors = [f"- `{one.job.mutant}` {one.by}".rstrip() for one in outcomes if one.outcome == "survived"]
    return "\n".join([*lines, "", "Survivors:", "", *survivors])
