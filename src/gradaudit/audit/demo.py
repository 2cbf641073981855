"""The demo audit: four photographs and the gradient of a small network, without and with a defense."""

from __future__ import annotations

from ..values.errors import AuditError
from .config import AuditConfig, make_config

TITLE = "gradaudit demo: four photographs, one shared gradient"
DEFENSE = {"name": "gaussian-noise", "std": 0.1}


def demo_configs(seed: int) -> tuple[AuditConfig, AuditConfig]:
    """Return the configurations of one audit without and with a defense.

    The attack is the fast variant of Inverting Gradients. The labels are granted, as in the paper's experiments. Raise
    `AuditError` if the seed is negative.
    """
    if seed < 0:
        raise AuditError(f"--seed: must be at least 0. Found {seed}.")
    shared = {
        "data": {"source": "photographs", "size": 32, "crops": "whole", "batch_size": 4},
        "model": {"name": "fedavg-cnn", "num_classes": 10},
        "knowledge": ["priors", "LABELS"],
        "attacks": [{"name": "inverting-gradients-fast"}],
        "seed": seed,
    }
    return make_config(shared), make_config({**shared, "defenses": [DEFENSE]})
