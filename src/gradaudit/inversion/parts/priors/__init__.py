"""What is known of natural inputs before any update is seen."""

from .batch_norm_statistics import BatchNormStatistics
from .channel_means import ChannelMeans
from .edges import Edges
from .embedding_length import EmbeddingLength
from .epoch_order import EpochOrder
from .group_consistency import GroupConsistency
from .l2 import L2
from .patch_border import PatchBorder
from .squared_total_variation import SquaredTotalVariation
from .total_variation import TotalVariation

PRIORS: dict[str, type] = {
    "total-variation": TotalVariation,
    "squared-total-variation": SquaredTotalVariation,
    "l2": L2,
    "embedding-length": EmbeddingLength,
    "group-consistency": GroupConsistency,
    "patch-border": PatchBorder,
    "batch-norm-statistics": BatchNormStatistics,
    "channel-means": ChannelMeans,
    "edges": Edges,
    "epoch-order": EpochOrder,
}

__all__ = [
    "L2",
    "PRIORS",
    "BatchNormStatistics",
    "ChannelMeans",
    "Edges",
    "EmbeddingLength",
    "EpochOrder",
    "GroupConsistency",
    "PatchBorder",
    "SquaredTotalVariation",
    "TotalVariation",
]
