"""The attacks of the literature, one file each; every one is a value."""

from ..inversion.attack import Attack
from ..inversion.mutual import MutualInversion
from . import (
    afgi,
    agic,
    bag_of_words,
    dager,
    dlfa,
    dlg,
    dlg_text,
    gradinversion,
    grnn,
    hfgradinv,
    idlg,
    inverting_gradients,
    inverting_gradients_fast,
    lamp,
    mgia,
    nl_sme,
    sme,
    tag,
)

AFGI = afgi.ATTACK
AGIC = agic.ATTACK
BAG_OF_WORDS = bag_of_words.ATTACK
DAGER = dager.ATTACK
DLFA = dlfa.ATTACK
DLG = dlg.ATTACK
DLG_TEXT = dlg_text.ATTACK
GRADINVERSION = gradinversion.ATTACK
GRNN = grnn.ATTACK
HFGRADINV = hfgradinv.ATTACK
IDLG = idlg.ATTACK
INVERTING_GRADIENTS = inverting_gradients.ATTACK
INVERTING_GRADIENTS_FAST = inverting_gradients_fast.ATTACK
LAMP = lamp.ATTACK
MGIA = mgia.ATTACK
MGIA_NO_KD = mgia.NO_KD
NL_SME = nl_sme.ATTACK
SME = sme.ATTACK
TAG = tag.ATTACK

ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        AFGI,
        AGIC,
        BAG_OF_WORDS,
        DAGER,
        DLFA,
        DLG,
        DLG_TEXT,
        GRADINVERSION,
        HFGRADINV,
        IDLG,
        INVERTING_GRADIENTS,
        INVERTING_GRADIENTS_FAST,
        LAMP,
        NL_SME,
        SME,
        TAG,
    )
}

MULTI_MODAL: dict[str, MutualInversion] = {attack.name: attack for attack in (MGIA, MGIA_NO_KD)}
"""Attacks on two updates of the same examples: they take a tuple of observations."""

__all__ = [
    "AFGI",
    "AGIC",
    "ATTACKS",
    "BAG_OF_WORDS",
    "DAGER",
    "DLFA",
    "DLG",
    "DLG_TEXT",
    "GRADINVERSION",
    "GRNN",
    "HFGRADINV",
    "IDLG",
    "INVERTING_GRADIENTS",
    "INVERTING_GRADIENTS_FAST",
    "LAMP",
    "MGIA",
    "MGIA_NO_KD",
    "MULTI_MODAL",
    "NL_SME",
    "SME",
    "TAG",
]
