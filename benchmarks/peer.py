"""The time of one iteration of breaching's Inverting Gradients, in its own loop with its own settings.

`pip install breaching` is optional. Only the measured code is imported from it.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from copy import deepcopy
from io import StringIO
from itertools import pairwise

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import gradaudit as ga

from .networks import NORMALISATION


class Enough(Exception):  # noqa: N818
    """Raised to end a loop after enough iterations were timed."""


def breaching_iterations(
    private: ga.Batch, seen: ga.Observation, batch_norm: str
) -> Callable[[int], list[float]] | None:
    """Return a function `(count) -> process-CPU milliseconds of each iteration`, or `None` without breaching."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import breaching
            from breaching.attacks.optimization_based_attack import OptimizationBasedAttacker
    except ImportError:
        return None
    logging.getLogger("breaching").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with redirect_stdout(StringIO()):  # breaching prints the name of the file that it reads
            config = breaching.get_attack_config("invertinggradients")
    model = _as_it_prepares(seen.model, batch_norm)
    attacker = OptimizationBasedAttacker(model, nn.CrossEntropyLoss(), config)
    attacker.data_shape = seen.input_shape
    attacker.dm, attacker.ds = (
        torch.tensor(values)[None, :, None, None] for values in (NORMALISATION.mean, NORMALISATION.std)
    )
    settings = {"num_data_points": len(private), "local_hyperparams": None}
    shared = [{"gradients": list(seen.update.values), "buffers": None, "metadata": settings}]
    return _clocked(attacker, model, shared, private.labels)


def _clocked(attacker, model, shared, labels) -> Callable[[int], list[float]]:
    plain, ticks = attacker.objective.forward, []

    def run(count: int) -> list[float]:
        def forward(*args):
            ticks.append(time.process_time())
            if len(ticks) > count + 1:  # the first iteration is a warm-up and is skipped
                raise Enough
            return plain(*args)

        ticks.clear()
        attacker.objective.forward = forward
        # The fused attention, which torch would choose, has no second derivative.
        with sdpa_kernel(SDPBackend.MATH), suppress(Enough):
            attacker._run_trial([model], shared, labels, defaultdict(list), 0)
        return [1e3 * (after - before) for before, after in pairwise(ticks[1:])]

    return run


def _as_it_prepares(model: nn.Module, batch_norm: str) -> nn.Module:
    """Return the model as breaching prepares it: without running statistics if those of the batch are used.

    This follows its `_construct_models_from_payload_and_buffers`.
    """
    copy = deepcopy(model).eval()
    for module in copy.modules():
        if isinstance(module, nn.BatchNorm2d) and batch_norm == "train":
            module.train()
            module.track_running_stats = False
    return copy
