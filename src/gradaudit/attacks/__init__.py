"""The attacks of the literature, one file each; every one is a value."""

from ..inversion.attack import Attack
from . import dlg, idlg, inverting_gradients, inverting_gradients_fast

DLG = dlg.ATTACK
IDLG = idlg.ATTACK
INVERTING_GRADIENTS = inverting_gradients.ATTACK
INVERTING_GRADIENTS_FAST = inverting_gradients_fast.ATTACK

ATTACKS: dict[str, Attack] = {
    attack.name: attack for attack in (DLG, IDLG, INVERTING_GRADIENTS, INVERTING_GRADIENTS_FAST)
}

__all__ = ["ATTACKS", "DLG", "IDLG", "INVERTING_GRADIENTS", "INVERTING_GRADIENTS_FAST"]
