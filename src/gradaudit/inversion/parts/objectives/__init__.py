"""How a candidate's update is compared with the observed one."""

from .chord import Chord
from .cosine import Cosine, LayerwiseCosine
from .euclidean import Euclidean
from .euclidean_l1 import EuclideanL1
from .growing import Growing
from .l1 import L1
from .layerwise_euclidean import LayerwiseEuclidean
from .mean_step import MeanStep
from .per_round import PerRound
from .position_embedding import PositionEmbedding
from .squared_plus_plain import SquaredPlusPlain
from .weighted_cosine import WeightedCosine

__all__ = [
    "L1",
    "Chord",
    "Cosine",
    "Euclidean",
    "EuclideanL1",
    "Growing",
    "LayerwiseCosine",
    "LayerwiseEuclidean",
    "MeanStep",
    "PerRound",
    "PositionEmbedding",
    "SquaredPlusPlain",
    "WeightedCosine",
]
