"""A terminal shows at once that a command has started, while torch is loaded."""

import os
import sys

import pytest
from benchmarks.around import first_seen


@pytest.fixture(autouse=True)
def terminal():
    try:
        pair = os.openpty()
    except OSError as error:
        pytest.skip(f"this machine has no pseudo-terminals: {error}")
    for end in pair:
        os.close(end)


@pytest.mark.parametrize("command", [("demo",), ("study", "sok-table-1")], ids=" ".join)
def test_a_terminal_says_that_libraries_are_loaded(command, tmp_path):
    """An `OSError` means that the command ended without it."""
    assert "Loading" in first_seen((sys.executable, "-m", "gradaudit", *command), ["Loading"], tmp_path)
    assert not list(tmp_path.iterdir()), "it came after the first result"
