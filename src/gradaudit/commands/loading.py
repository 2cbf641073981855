"""The libraries that every attack needs, which take seconds to load."""

from __future__ import annotations

import sys
from importlib import import_module

from ..values.terminal import Screen


def load_attacks() -> None:
    """Import torch and all attacks; a terminal says so meanwhile."""
    if "gradaudit.attacks" in sys.modules:
        return
    screen = Screen(err=True)
    if not screen.is_terminal:
        return  # the command imports them where it needs them
    with screen.status("Loading torch and the attacks"):
        import_module("gradaudit.attacks")
