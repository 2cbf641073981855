"""The committed tables of studies, printed again from their measurements: `python -m benchmarks.printed`.

Each folder of benchmarks/results/studies holds what `gradaudit study NAME --out FOLDER` wrote (trials.jsonl and
bench.json) and run.json: the study, its scale, the date and the machine. The command writes study.md beside them, and
README.md, the list of all; it needs no data. With `--keep FOLDER --study NAME` it copies a folder there first.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gradaudit.report.study_tables import NO_LEAK_SHOWN, markdown, verdict_of
from gradaudit.studies import STUDIES, StudyResult, read_stored
from gradaudit.studies._collections import COLLECTIONS

from .machine import described

STORED = Path(__file__).parent / "results" / "studies"
FILES = ("trials.jsonl", "bench.json")
VERDICTS = ("confirmed", "contradicted", "inconclusive", NO_LEAK_SHOWN)


def keep(folder: Path, name: str, scale: str) -> Path:
    """Copy the measurements of a folder to the committed ones, with the machine and the date."""
    kept = STORED / folder.name
    kept.mkdir(parents=True, exist_ok=True)
    for file in FILES:
        shutil.copy(folder / file, kept / file)
    run = {"study": name, "scale": scale, "date": f"{datetime.date.today()}", "machine": described()}
    (kept / "run.json").write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    return kept


def printed(folder: Path) -> tuple[str, StudyResult]:
    """Return the Markdown of a folder and its result."""
    run, data = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("run.json", "bench.json"))
    result, changed = read_stored(STUDIES[run["study"]], run["scale"], folder)
    cells = result.study.cells[run["scale"]]
    left = [cell.name for cell in cells if cell.name not in result.values]
    measured = tuple(cell for cell in cells if cell.name in result.values)
    result = replace(result, study=replace(result.study, cells={run["scale"]: measured}))
    lines = [
        f"Measured on {run['date']} on {run['machine']}, with "
        f"{'; '.join(f'`{option}` {file}' for option, file in data.items()) or 'the built-in photographs'}: "
        f"{result.done} of {result.planned} measurements, {result.seconds / 60:.0f} minutes of computing in all.",
    ]
    if left:
        lines.append(f"Not measured: {'; '.join(left)}.")
    if changed:
        lines.append(f"The definition of these cells has changed since: {'; '.join(changed)}.")
    title, rest = markdown(result).split("\n\n", 1)
    return "\n\n".join([title, *lines, rest]), result


def overview(results: dict[str, StudyResult]) -> str:
    """Return the list of all folders, what was measured and how the claims fared, and the questions of collections."""
    lines = [
        "# Measured studies",
        "`python -m benchmarks.printed` writes these pages from the lines beside them. A claim is confirmed or "
        "contradicted if the 95 % interval of its paired differences lies above or below zero, and neither if no image "
        "is shown to come closer than the mean image in either of its cells.",
        f"| folder | study | measurements | {' | '.join(VERDICTS)} | minutes |\n" + "|---" * (len(VERDICTS) + 4) + "|",
    ]
    for name, result in results.items():
        lines[-1] += (
            f"\n| [{name}]({name}/study.md) | {result.study.title} (`{result.study.name}`, {result.scale}) | "
            f"{result.done} of {result.planned} | {' | '.join(map(str, counts(result).values()))} | "
            f"{result.seconds / 60:.0f} |"
        )
    for collection in COLLECTIONS.values():
        lines += [f"## {collection.title}", f"Published findings of {collection.paper}."]
        lines.append("| question | published finding | measured here |\n|---|---|---|")
        for question in collection.questions:
            found = [(name, result) for name, result in results.items() if result.study.name in question.studies]
            here = "; ".join(f"[{name}]({name}/study.md): {in_words(result)}" for name, result in found)
            lines[-1] += f"\n| {question.key}: {question.words} | {question.finding} | {here or 'not measured'} |"
    return "\n\n".join(lines) + "\n"


def counts(result: StudyResult) -> dict[str, int]:
    """Return how many claims of a result have which verdict."""
    verdicts = [verdict_of(result, one) for one in result.comparisons]
    return {word: verdicts.count(word) for word in VERDICTS}


def in_words(result: StudyResult) -> str:
    """Return the verdicts on the claims of a result, such as `7 confirmed, 1 inconclusive`."""
    return ", ".join(f"{count} {word}" for word, count in counts(result).items() if count) or "no claim is decided"


def pages() -> Iterator[tuple[Path, str]]:
    """Yield the path and the text of every page."""
    results = {}
    for folder in sorted(path.parent for path in STORED.glob("*/run.json")):
        text, results[folder.name] = printed(folder)
        yield folder / "study.md", text
    yield STORED / "README.md", overview(results)


def main() -> None:
    """Write all pages, after copying a folder if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a folder of `gradaudit study` to copy first")
    parser.add_argument("--study", help="its study")
    parser.add_argument("--scale", default="default", help="its scale")
    options = parser.parse_args()
    if options.keep:
        if options.study not in STUDIES:
            parser.error("--keep needs --study NAME, one of `gradaudit studies`.")
        print(keep(options.keep, options.study, options.scale))
    for path, text in pages():
        path.write_text(text, encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
