"""One audit from its cases to its page, as run by the command and by `gradaudit.run`."""

from .auditing import carry_out, run
from .outcome import Run

__all__ = ["Run", "carry_out", "run"]
