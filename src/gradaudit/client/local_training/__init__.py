"""How a client turns a batch into an update: used by the client, and by the adversary that simulates it."""

from .aggregated import AggregatedTraining, client_seed, weighted_mean
from .distillation import DistilledCrossEntropy
from .modes import BatchNormMode, InMode, batch_norm_mode
from .training import CrossEntropy, FedAvg, FedSGD, LocalTraining, Orders

__all__ = [
    "AggregatedTraining",
    "BatchNormMode",
    "CrossEntropy",
    "DistilledCrossEntropy",
    "FedAvg",
    "FedSGD",
    "InMode",
    "LocalTraining",
    "Orders",
    "batch_norm_mode",
    "client_seed",
    "weighted_mean",
]
