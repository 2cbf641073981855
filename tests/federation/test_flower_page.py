"""docs/flower-tutorial.md is real: Flower and gradaudit run it word for word, and its excerpts are what they print."""

import re
import shlex
import tomllib
from importlib.metadata import metadata
from pathlib import Path

import pytest
from benchmarks.flower_page import TUTORIAL, blocks_of
from walking import KINDS, Walk, steps_of

ROOT = Path(__file__).resolve().parents[2]
NUMBER = re.compile(r"[+-]?\d+\.\d+|\d+(?=/\d)|\d+(?= of \d+ images)")
COMMANDS = [step.command for kind, text in blocks_of() if kind == "console" for step in steps_of(text)]
IDS = [f"{place + 1}-{command.split()[0]}" for place, command in enumerate(COMMANDS)]
NEAR = 1.5  # decibels and images by which another processor may differ


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The folder, and the commands of the page with what they printed."""
    folder = tmp_path_factory.mktemp("app")
    walk = Walk(folder, tmp_path_factory.mktemp("aside"))
    try:
        steps = list(walk.page(TUTORIAL))
    finally:
        walk.close()
    return folder, steps


def words(line):
    line = re.sub(r"global-[0-9a-f]{16}", "global-HASH", " ".join(line.split()))
    return NUMBER.sub("#", re.sub(r"\b\d(\.\d+)?e-0\d\b", "TINY", line))


def alike(shown, printed):
    """The same words and close numbers; the seconds at the end of a row of the table may differ."""
    if words(shown) != words(printed):
        return False
    pairs = list(zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True))
    row = re.search(r" (granted|\d+%) +\d+\.\d+ *$", shown)
    return all(abs(float(one) - float(other)) <= NEAR for one, other in (pairs[:-1] if row else pairs))


@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=IDS)
def test_each_excerpt_is_what_the_command_prints(walked, number):
    step = walked[1][number]
    assert step.command == COMMANDS[number]
    lines = [*step.printed.splitlines(), *step.errors.splitlines()]
    for shown in step.shown:
        assert any(alike(shown, line) for line in lines), f"{step.command} does not print: {shown}\n\n{step.printed}"


def test_nothing_else_was_captured(walked):
    folder, steps = walked
    (listing,) = (step for step in steps if step.command == "ls captures")
    assert len(listing.shown) == len(listing.printed.splitlines())
    for run in ("narrow", "wide", "blind", "noisy"):
        assert (folder / run / "report.html").is_file()


def test_no_block_of_the_page_is_left_out():
    text = TUTORIAL.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(blocks_of())
    assert {kind for kind, _ in blocks_of()} <= set(KINDS)


def test_what_the_page_installs_exists():
    (command,) = (command for command in COMMANDS if command.startswith("pip"))
    pip, install, *packages = shlex.split(command)
    assert (pip, install) == ("pip", "install")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = {"gradaudit": project["optional-dependencies"], "flwr": metadata("flwr").get_all("Provides-Extra")}
    for package in packages:
        name, extra = re.fullmatch(r"([a-z]+)\[([a-z]+)\]", package).groups()
        assert extra in known[name]


def test_the_figures_of_the_page_are_those_of_the_benchmark():
    results = (ROOT / "benchmarks/results/flower.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [636].*$", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) > 5
    assert all(row in results for row in rows)


def test_another_word_or_another_value_is_noticed():
    row = "round-1  fast  1  18.7 dB  13.1 dB  +5.6 dB  4/4  granted  6.5"
    assert alike(row, "round-1 fast 1 19.0 dB 13.1 dB +5.9 dB 3/4 granted 60.5")
    assert not alike(row, "round-1 fast 1 22.7 dB 13.1 dB +9.6 dB 4/4 granted 6.5")
    assert not alike(row, "round-1 fast 1 18.7 dB 13.1 dB +5.6 dB 2/4 granted 6.5")
    assert not alike(row, "round-2 fast 1 18.7 dB 13.1 dB +5.6 dB 4/4 granted 6.5")
    verdict = "Recognisable: 4 of 4 images were recovered (mean 20.8 dB)."
    assert alike(verdict, "Recognisable: 3 of 4 images were recovered (mean 21.8 dB).")
    assert not alike(verdict, "Recognisable: 2 of 4 images were recovered (mean 20.8 dB).")
    assert not alike(verdict, "Traces: 4 of 4 images were recovered (mean 20.8 dB).")
