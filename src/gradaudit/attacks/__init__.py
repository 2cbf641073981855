"""The attacks of the literature, one file each; every one is a value."""

from ..inversion import part_names
from ..inversion.attack import Attack
from ..inversion.run.mutual import MutualInversion
from . import (
    afgi,
    agic,
    april,
    april_patches,
    bag_of_words,
    dager,
    dlfa,
    dlg,
    dlg_text,
    gradinversion,
    gradvit,
    grnn,
    hfgradinv,
    idlg,
    inverting_gradients,
    inverting_gradients_fast,
    inverting_gradients_table,
    lamp,
    mgia,
    nl_sme,
    sme,
    tableak,
    tag,
)

AFGI = afgi.ATTACK
AGIC = agic.ATTACK
APRIL = april.ATTACK
APRIL_PATCHES = april_patches.ATTACK
BAG_OF_WORDS = bag_of_words.ATTACK
DAGER = dager.ATTACK
DLFA = dlfa.ATTACK
DLG = dlg.ATTACK
DLG_TEXT = dlg_text.ATTACK
GRADINVERSION = gradinversion.ATTACK
GRADVIT = gradvit.ATTACK
GRNN = grnn.ATTACK
HFGRADINV = hfgradinv.ATTACK
IDLG = idlg.ATTACK
INVERTING_GRADIENTS = inverting_gradients.ATTACK
INVERTING_GRADIENTS_FAST = inverting_gradients_fast.ATTACK
INVERTING_GRADIENTS_TABLE = inverting_gradients_table.ATTACK
LAMP = lamp.ATTACK
MGIA = mgia.ATTACK
MGIA_NO_KD = mgia.NO_KD
NL_SME = nl_sme.ATTACK
SME = sme.ATTACK
TABLEAK = tableak.ATTACK
TAG = tag.ATTACK

ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        AFGI,
        AGIC,
        APRIL,
        APRIL_PATCHES,
        BAG_OF_WORDS,
        DAGER,
        DLFA,
        DLG,
        DLG_TEXT,
        GRADINVERSION,
        GRADVIT,
        GRNN,
        HFGRADINV,
        IDLG,
        INVERTING_GRADIENTS,
        INVERTING_GRADIENTS_FAST,
        INVERTING_GRADIENTS_TABLE,
        LAMP,
        NL_SME,
        SME,
        TABLEAK,
        TAG,
    )
}


def constructors() -> dict[str, type]:
    """By name all that the `repr` of an attack may hold: it evaluates to the attack again, closed forms included."""
    return {**part_names(), **{type(attack).__name__: type(attack) for attack in ATTACKS.values()}}


MULTI_MODAL: dict[str, MutualInversion] = {attack.name: attack for attack in (MGIA, MGIA_NO_KD)}
"""Attacks on two updates of the same examples: they take a tuple of observations."""

__all__ = [
    "AFGI",
    "AGIC",
    "APRIL",
    "APRIL_PATCHES",
    "ATTACKS",
    "BAG_OF_WORDS",
    "DAGER",
    "DLFA",
    "DLG",
    "DLG_TEXT",
    "GRADINVERSION",
    "GRADVIT",
    "GRNN",
    "HFGRADINV",
    "IDLG",
    "INVERTING_GRADIENTS",
    "INVERTING_GRADIENTS_FAST",
    "INVERTING_GRADIENTS_TABLE",
    "LAMP",
    "MGIA",
    "MGIA_NO_KD",
    "MULTI_MODAL",
    "NL_SME",
    "SME",
    "TABLEAK",
    "TAG",
    "constructors",
]
