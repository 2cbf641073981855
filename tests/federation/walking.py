"""Walks a page: its files are written, its changes made and its commands run word for word, in its order."""

import os
import shlex
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from benchmarks.flower_page import FILES, apply, blocks_of

KINDS = (*FILES, "diff", "console")
# Runs the commands `gradaudit` and `python`, each in a process of its own, which has imported torch already.
DRIVER = """
import os, runpy, shlex, sys
import gradaudit.attacks, gradaudit.commands.cli, gradaudit.report, gradaudit.execution
for request in sys.stdin:
    out, program, *arguments = shlex.split(request)
    child = os.fork()
    if not child:
        for number, name in ((1, out), (2, out + ".err")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
        sys.argv = ["gradaudit", *arguments] if program == "gradaudit" else arguments
        sys.path.insert(0, os.getcwd())
        gradaudit.commands.cli.main() if program == "gradaudit" else runpy.run_path(arguments[0], run_name="__main__")
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class Step:
    """One command of the page: what the page shows below it, and what it printed."""

    command: str
    shown: list[str] = field(default_factory=list)
    printed: str = ""
    errors: str = ""
    code: int = 0
    asked: bool = False  # whether the page asks for the exit code, which may then be another than 0


def steps_of(text):
    found = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(Step(line[2:]))
        else:
            found[-1].shown.append(line)
    for step, following in pairwise(found):
        step.asked = following.command == "echo $?"
    return found


class Walk:
    """A shell in one folder, with a Flower of its own."""

    def __init__(self, folder, aside):
        self.folder, self.aside, self.code = folder, aside, 0
        ports = [str(free_port()) for _ in range(2)]
        self.environment = {
            **os.environ,
            "COLUMNS": "120",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "FLWR_HOME": str(aside / "flower"),
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "RAY_ADDRESS": "local",  # not a cluster that another program has left behind
            "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": ports[0],
            "FLWR_LOCAL_CONTROL_API_PORT": ports[1],
        }
        words = [sys.executable, "-c", DRIVER]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.driver = subprocess.Popen(words, cwd=folder, env=self.environment, **pipes)

    def page(self, path):
        """Yield each command of the page after it has run."""
        number = 0
        for kind, text in blocks_of(path):
            apply([(kind, text)], self.folder)
            for step in steps_of(text) if kind == "console" else ():
                number += 1
                self.run(step, str(self.aside / f"out-{number}"))
                assert not step.code or step.asked, f"{step.command}: exit code {step.code}\n{step.errors[-3000:]}"
                yield step

    def run(self, step, out):
        program, *arguments = shlex.split(step.command)
        if program == "pip":
            return  # tested by itself: the environment of the tests has these packages
        if program == "export":
            self.environment.update(argument.split("=", 1) for argument in arguments)
        elif step.command == "echo $?":
            step.printed = str(self.code)
        elif program in ("gradaudit", "python"):
            self.driver.stdin.write(f"{shlex.quote(out)} {step.command}\n")
            self.driver.stdin.flush()
            step.code = int(self.driver.stdout.readline())
            step.printed, step.errors = (Path(name).read_text(encoding="utf-8") for name in (out, f"{out}.err"))
        else:
            self.shell(step)
        self.code = step.code

    def shell(self, step):
        for _ in range(3):  # Flower waits 15 seconds for its SuperLink, which is short on a busy machine
            done = subprocess.run(
                step.command, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True
            )
            if "Failed to start local SuperLink" not in done.stderr:
                break
        step.printed, step.errors, step.code = done.stdout, done.stderr, done.returncode

    def close(self):
        self.driver.stdin.close()
        self.driver.wait()
        for process in superlinks(self.aside / "flower"):
            os.kill(process, signal.SIGTERM)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def superlinks(home):
    """Return the processes of the local SuperLink that keeps its state in a folder."""
    state = f"{home}/local-superlink/state.db".encode()
    return [
        int(entry.parent.name)
        for entry in Path("/proc").glob("[0-9]*/cmdline")
        if entry.parent.name.isdigit() and state in _words(entry)
    ]


def _words(entry):
    try:
        return entry.read_bytes().split(b"\0")
    except OSError:  # it has ended
        return []
