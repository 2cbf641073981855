"""Nothing from a file moves the cursor, hides, or turns round what stands on a terminal or a page."""

import dataclasses
import io
import os
import re
import signal
import sys
import unicodedata
import warnings
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

import gradaudit as package
from gradaudit.commands.listings import plain_table
from gradaudit.commands.progress import TerminalListener, finding_lines
from gradaudit.report import render
from gradaudit.values import terminal
from gradaudit.values.errors import AuditWarning
from gradaudit.values.terminal import Screen, as_text, visible
from test_cli import CONFIG, audit_file  # noqa: F401  (fixtures)
from test_report_page import RUN, finding

EVIL = "a\x1b[31m\x1b]0;own\x07b\x9b31m\u202ec\u200bd\ufeff\u2066e\r\x00[red]f[/red]"
SHOWN = r"a\x1b[31m\x1b]0;own\x07b\x9b31m\u202ec\u200bd\ufeff\u2066e\r\x00[red]f[/red]"
HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def harmless(text):
    return not [c for c in text if unicodedata.category(c) in HARMFUL and c != "\n"]


@given(st.text(st.characters()))
def test_nothing_invisible_is_left(text):
    assert harmless(visible(text))
    assert "\n" not in visible(text)
    assert visible(text, lines=True).count("\n") == text.count("\n")
    assert visible(visible(text)) == visible(text)


def test_what_can_be_seen_stays():
    for text in ("plain", "Grüße, 日本語 – ×10⁻³ “…” é e\u0301 ألف", "😀", "a\u00a0b"):
        assert visible(text) == text
    assert visible(EVIL) == SHOWN
    assert visible("n\u00e9e\ud83d\udcff\n") == r"née\ud83d\udcff" + r"\n"  # halves of a pair, as in undecodable names
    assert visible("a\ufe0f\u3164\u034f\U000e0061") == r"a\ufe0f\u3164\u034f\U000e0061"


def screened(print_it, **options):
    """What `print_it` writes to a screen."""
    file = io.StringIO()
    print_it(Screen(file=file, width=400, **options))
    return file.getvalue()


def test_a_screen_shows_text_as_it_is():
    def table():
        made = Table(EVIL, title=EVIL, caption=EVIL)
        made.add_row(EVIL)
        plain = plain_table((EVIL,))
        plain.add_row(EVIL)
        return made, plain

    for thing in (EVIL, as_text(EVIL, "bold"), *table()):
        shown = screened(lambda screen, thing=thing: screen.print(thing))
        assert harmless(shown)
        assert SHOWN in shown
    assert ":smile:" in screened(lambda screen: screen.print(":smile:"))


def test_progress_shows_names_as_they_are(tmp_path):
    class Job:
        title, checkpoint = EVIL, "a"

    for console in (Screen(file=io.StringIO(), width=400), Console(file=io.StringIO(), width=400)):
        with TerminalListener(console, finding_lines) as listener:
            listener.begin(Job(), 1, 2)
            listener.end(finding(tmp_path, attack=EVIL, client=EVIL), 1, 2)
        shown = console.file.getvalue()
        assert harmless(shown)
        assert shown.count(SHOWN) == 3
    console = Console(file=io.StringIO(), width=400, force_terminal=True)
    with TerminalListener(console, finding_lines) as listener:
        watch = listener.begin(Job(), 1, 2)
        watch(1, 2, 0.5)
        listener.live.refresh()
    shown = console.file.getvalue()
    assert r"\x1b]0;own\x07" in shown
    assert "\x1b]0;" not in shown
    assert "[red]f[/red]" in shown


def test_the_page_shows_names_as_they_are(tmp_path):
    case = finding(
        tmp_path, attack=EVIL, client=EVIL, attack_value=EVIL, client_value=EVIL, paper=EVIL, deviations=(EVIL,),
        notes=(EVIL,), no_op_defenses=(EVIL,), versions={EVIL: EVIL}, picture_names=(EVIL,), needs=(EVIL,),
    )  # fmt: skip
    case = dataclasses.replace(case, scores=dataclasses.replace(case.scores, why_not={"lpips": EVIL}))
    run = dataclasses.replace(RUN, title=EVIL, configuration=f"{EVIL}\nb: 1", source=EVIL, attribution=EVIL)
    page = render([case], run, tmp_path)
    assert harmless(page)
    assert page.count(SHOWN) > 8
    assert SHOWN + "\nb: 1" in page  # a configuration has lines


def test_text_leaves_in_one_place():
    """No other module writes to a terminal."""
    here = Path(package.__file__).parent
    for path in here.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != "terminal.py":
            assert not re.search(
                r"\bConsole\(|typer\.s?echo\(|sys\.std(out|err)\.write|console\.print\(\s*f?[\"']", text
            ), path


def test_the_error_line(gradaudit, tmp_path):
    (tmp_path / "a.yaml").write_text('data: {source: "x\\e[31m\\u202e"}\nmodel: {name: mlp}\nknowledge: [priors]\n')
    for arguments in (
        ("audit", "a.yaml"),
        ("audit", EVIL.replace("\x00", "")),
        ("report", EVIL.replace("\x00", "")),
        ("study", EVIL),
        ("audit", "a.yaml", "--x\x1b[31m"),
        ("x\x1b[31m",),
    ):
        code, out, err = gradaudit(*arguments)
        assert (code, out) == (2, "")
        assert harmless(err)
        assert r"\x1b" in err


def test_a_tensors_name_on_the_screen(gradaudit, tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    net = nn.Sequential(nn.Flatten())\n"
        f"    net.add_module({EVIL!r}, nn.Linear(192, 10))\n"
        "    return net\n"
    )
    of_model = {f"{EVIL}.weight": torch.rand(10, 192), f"{EVIL}.bias": torch.rand(10)}
    for update, expected in ((of_model, 0), ({EVIL: torch.zeros(10)}, 2)):
        torch.save(update, tmp_path / "u.pt")
        code, out, err = gradaudit(
            "inspect", "u.pt", "--model", "net.py:make", "--input-shape", "3,8,8", "--out", "page"
        )
        assert code == expected
        assert harmless(out + err)
        assert r"\x1b]0;own\x07" in out + err
    assert harmless((tmp_path / "page/inspection.html").read_text())


def test_warnings_are_one_line(capsys):
    with terminal.attended():
        warnings.warn("a\x1b[31m.pt: is damaged", AuditWarning, stacklevel=1)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("theirs\x1b[31m", UserWarning, stacklevel=1)
    shown = capsys.readouterr().err
    assert shown.startswith("note: a\\x1b[31m.pt: is damaged\n")
    assert "UserWarning: theirs\\x1b[31m" in shown
    assert "\x1b" not in shown


def test_a_terminal_that_knows_few_letters(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    with terminal.attended():
        Screen().print("10⁻³")
        terminal.echo("10⁻³")
        sys.stdout.flush()
        assert raw.getvalue().count(rb"10\u207b") == 2


def test_sigterm_is_ctrl_c():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminal.attended():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_closed_pipe_ends_quietly(gradaudit, tmp_path, monkeypatch, stream):
    """As with `| head`: nobody reads, nobody is told, and what was done is kept."""
    path = tmp_path / "audit.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        monkeypatch.setattr(sys, stream, closed)
        arguments = ("metrics",) if stream == "stdout" else ("audit", path, "--out", "run")
        code, out, err = gradaudit(*arguments)
        assert (code, out, err) == (terminal.PIPE_CLOSED, "", "")
    assert not (tmp_path / "run/.lock").exists()


def test_a_line_into_a_closed_pipe_ends_quietly(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        with pytest.raises(SystemExit, match=str(terminal.PIPE_CLOSED)):
            terminal.echo("{}")
