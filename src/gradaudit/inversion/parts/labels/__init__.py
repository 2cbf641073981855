"""Where an attack's labels come from: one file per method, and the table of them."""

from .bias_sign import BiasSign
from .column_minimum import ColumnMinimum
from .ilrg import ClassEmbeddings
from .joint import JointLabels
from .known import KnownLabels
from .label_of_one import IDLG
from .llg import LabelLeakage, LabelLeakagePlus, LabelLeakageStar
from .mean_counts import BiasCounts, WeightCounts
from .minimum_variation import MinimumVariation, MinimumVariationDirect
from .recovery_block import LearnedRecoveryBlock, RecoveryBlock
from .rlg import SeparatingHyperplane
from .rlu import ErroneousConfidence
from .soft import SoftLabels

LABELS: dict[str, type] = {
    "known": KnownLabels,
    "joint": JointLabels,
    "idlg": IDLG,
    "bias-sign": BiasSign,
    "gradinversion": ColumnMinimum,
    "rlg": SeparatingHyperplane,
    "llg": LabelLeakage,
    "llg-plus": LabelLeakagePlus,
    "llg-star": LabelLeakageStar,
    "weight-counts": WeightCounts,
    "bias-counts": BiasCounts,
    "ilrg": ClassEmbeddings,
    "hfgradinv": MinimumVariation,
    "hfgradinv-direct": MinimumVariationDirect,
    "afgi": RecoveryBlock,
    "afgi-learned": LearnedRecoveryBlock,
    "rlu": ErroneousConfidence,
    "soft": SoftLabels,
}

__all__ = [
    "IDLG",
    "LABELS",
    "BiasCounts",
    "BiasSign",
    "ClassEmbeddings",
    "ColumnMinimum",
    "ErroneousConfidence",
    "JointLabels",
    "KnownLabels",
    "LabelLeakage",
    "LabelLeakagePlus",
    "LabelLeakageStar",
    "LearnedRecoveryBlock",
    "MinimumVariation",
    "MinimumVariationDirect",
    "RecoveryBlock",
    "SeparatingHyperplane",
    "SoftLabels",
    "WeightCounts",
]
