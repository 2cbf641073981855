"""One audit from its cases to its page: what the command and `gradaudit.run` have in common."""

from .auditing import carry_out, run
from .outcome import Run

__all__ = ["Run", "carry_out", "run"]
