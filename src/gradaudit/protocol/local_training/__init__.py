"""Local training: how a client turns a batch into an update, and how an adversary simulates this."""

from .aggregated import AggregatedTraining, client_seed, weighted_mean
from .losses import LOSSES, Loss, require_inferable, rules_of, tensors_of
from .losses.cross_entropy import CrossEntropy
from .losses.distilled_cross_entropy import DistilledCrossEntropy
from .modes import BatchNormMode, InMode, batch_norm_mode, penalised
from .training import FedAvg, FedSGD, LocalTraining, Orders

__all__ = [
    "LOSSES",
    "AggregatedTraining",
    "BatchNormMode",
    "CrossEntropy",
    "DistilledCrossEntropy",
    "FedAvg",
    "FedSGD",
    "InMode",
    "LocalTraining",
    "Loss",
    "Orders",
    "batch_norm_mode",
    "client_seed",
    "penalised",
    "require_inferable",
    "rules_of",
    "tensors_of",
    "weighted_mean",
]
