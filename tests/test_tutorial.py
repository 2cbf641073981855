"""The tutorial is real: its files are written, its commands run in order, and its excerpts compared with the output."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gradaudit

TUTORIAL = Path(__file__).resolve().parents[1] / "docs/tutorial.md"
BLOCK = re.compile(r"```(yaml|python|console)\n(.*?)```", re.S)
NUMBER = re.compile(r"[+-]?\d+\.\d+")
DRIVER = """
import os, runpy, sys
import gradaudit.attacks, gradaudit.commands.cli, gradaudit.report, gradaudit.execution
for number, line in enumerate(sys.stdin.read().splitlines()):
    program, *arguments = __import__("shlex").split(line)
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.dup2(os.open(f"out-{number}", os.O_WRONLY | os.O_CREAT), 1)
        sys.argv = ["gradaudit", *arguments] if program == "gradaudit" else arguments
        sys.path.insert(0, "")
        gradaudit.commands.cli.main() if program == "gradaudit" else runpy.run_path(arguments[0], run_name="__main__")
        sys.exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, f"{line}: exit code {code}"
"""


def steps():
    """Pairs of a command and the lines that the tutorial shows below it."""
    found = []
    for _, text in (block for block in blocks() if block[0] == "console"):
        for line in text.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def blocks():
    return BLOCK.findall(TUTORIAL.read_text(encoding="utf-8"))


def words(line):
    return NUMBER.sub("#", " ".join(line.split()))


def numbers(line):
    return [float(number) for number in NUMBER.findall(line)]


def alike(shown, printed):
    """The same words and close numbers.

    In a row of decibels the seconds at the end may differ, and so may a recovery of more than 15 dB above the control:
    how exact it is depends on the processor's rounding.
    """
    if words(shown) != words(printed):
        return False
    pairs = list(zip(numbers(shown), numbers(printed), strict=True))
    if "dB" in shown:
        return all(abs(one - other) <= 3 or min(one, other) > 15 for one, other in pairs[:-1])
    return all(abs(one - other) <= 0.05 for one, other in pairs)


@pytest.fixture(scope="module")
def transcript(tmp_path_factory):
    """Each command with what it printed to standard output."""
    folder = tmp_path_factory.mktemp("tutorial")
    for kind, text in blocks():
        if kind != "console":
            (folder / re.match(r"# (\S+)\n", text)[1]).write_text(text, encoding="utf-8")
    source = str(Path(gradaudit.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    commands = [command for command, _ in steps()]
    done = subprocess.run(  # each command in a process of its own, which has imported torch already
        [sys.executable, "-c", DRIVER],
        input="\n".join(commands),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = {command: (folder / f"out-{i}").read_text(encoding="utf-8") for i, command in enumerate(commands)}
    return folder, printed


@pytest.mark.parametrize(("command", "excerpt"), steps(), ids=[command.split()[1] for command, _ in steps()])
def test_each_excerpt_is_what_the_command_prints(transcript, command, excerpt):
    lines = transcript[1][command].splitlines()
    for shown in excerpt:
        assert any(alike(shown, line) for line in lines), f"{command} does not print: {shown}\n\n" + "\n".join(lines)


def test_the_files_that_the_tutorial_names_are_written(transcript):
    folder, _ = transcript
    assert (folder / "plain/report.html").is_file()
    assert (folder / "noisy/results.jsonl").is_file()


def test_an_excerpt_with_another_word_or_another_value_is_noticed():
    row = "no defense  dlg  1  41.9 dB  13.1 dB  +28.8 dB  granted  3.7"
    assert alike(row, "no defense dlg 1 41.3 dB 13.1 dB +28.2 dB granted 9.9")
    assert alike(row, "no defense dlg 1 31.9 dB 13.1 dB +18.8 dB granted 3.7")
    assert not alike(row, "no defense dlg 1 21.9 dB 13.1 dB +8.8 dB granted 3.7")
    assert not alike(row, "no defense dlg 1 31.9 dB 17.1 dB +14.8 dB granted 3.7")
    assert not alike(row, "no defense idlg 1 41.9 dB 13.1 dB +28.8 dB granted 3.7")
