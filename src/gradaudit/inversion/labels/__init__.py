"""Where an attack's labels come from."""

from .idlg import IDLG
from .joint import JointLabels
from .known import KnownLabels

LABELS: dict[str, type] = {"known": KnownLabels, "joint": JointLabels, "idlg": IDLG}

__all__ = ["IDLG", "LABELS", "JointLabels", "KnownLabels"]
