"""The shipped defenses of Flower and NVFlare on one update: `python -m benchmarks.federation [--rounds N]`.

The update is that of a ResNet-20 after one step of plain SGD (learning rate 0.1) on eight photographs, with its
BatchNorm buffers, as a client sends it. Every defense runs through its framework's own code, with its defaults or the
settings in its row. The columns are those of `gradaudit.capture.defense_facts`; epsilon overall is for N rounds (10).
Needs the extras `flower` and `nvflare`.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from gradaudit.capture.defense_facts import COLUMNS, DefenseFacts, defense_facts, no_op_reason
from gradaudit.data.sources import SOURCES
from gradaudit.models import build
from gradaudit.protocol.defenses.nvflare_filters import apply_filter
from gradaudit.values.versions import version_of

RATE, EXAMPLES, CLASSES = 0.1, 8, 10
Arrays = dict[str, np.ndarray]


def network() -> nn.Module:
    """Return the global model."""
    torch.manual_seed(0)
    return build("resnet20", num_classes=CLASSES, channels=3, size=32)


def train(model: nn.Module) -> nn.Module:
    """Train one step in place."""
    images = SOURCES["photographs"](size=32).open().stack(list(range(EXAMPLES)))
    labels = torch.arange(EXAMPLES) % CLASSES
    optimiser = torch.optim.SGD(model.train().parameters(), RATE)
    nn.functional.cross_entropy(model(images), labels).backward()
    optimiser.step()
    return model


def arrays(model: nn.Module) -> Arrays:
    """Return the state of a model as copies."""
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


def difference(after: Arrays, before: Arrays) -> Arrays:
    """Return after minus before, of the tensors that are in `after`."""
    return {name: np.asarray(value) - before[name] for name, value in after.items()}


def flower(rounds: int) -> Iterator[DefenseFacts]:
    """Yield the facts about Flower's client mods."""
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.clientapp.mod import LocalDpMod, adaptiveclipping_mod, fixedclipping_mod

    from gradaudit.capture.flower_client import run_client_once

    before = arrays(network())
    raw = difference(arrays(train(network())), before)

    def sent(mod: Callable[..., Any], config: dict[str, float]) -> Arrays:
        app = ClientApp()

        @app.train(mods=[mod])
        def training(message: Message, context: Any) -> Message:
            state = ArrayRecord(train(network()).state_dict())
            content = RecordDict({"arrays": state, "metrics": MetricRecord({"num-examples": EXAMPLES})})
            return Message(content, reply_to=message)

        return difference(dict(run_client_once(app, before, config=config).after), before)

    norm = {"clipping_norm": 1.0}
    cases: list[tuple[str, Callable[..., Any], dict[str, float], float | None]] = [
        ("fixedclipping_mod, norm 1", fixedclipping_mod, norm, None),
        ("adaptiveclipping_mod, norm 1", adaptiveclipping_mod, norm, None),
    ]
    for epsilon in (1.0, 100.0, 10_000.0):
        label = f"LocalDpMod, norm 1, sensitivity 1, epsilon {epsilon:g}, delta 1e-5"
        cases.append((label, LocalDpMod(1.0, 1.0, epsilon, 1e-5), {}, epsilon))
    for label, mod, config, epsilon in cases:
        np.random.seed(0)
        yield defense_facts(raw, sent(mod, config), defense=label, epsilon=epsilon, rounds=rounds)


def nvflare(rounds: int) -> Iterator[DefenseFacts]:
    """Yield the facts about NVFlare's filters."""
    from nvflare.app_common.filters.exclude_vars import ExcludeVars
    from nvflare.app_common.filters.percentile_privacy import PercentilePrivacy
    from nvflare.app_common.filters.svt_privacy import SVTPrivacy

    raw = difference(arrays(train(network())), arrays(network()))
    cases: list[tuple[type, dict[str, Any]]] = [
        (PercentilePrivacy, {}),
        (PercentilePrivacy, {"percentile": 90}),
        (PercentilePrivacy, {"gamma": 0}),
        (PercentilePrivacy, {"percentile": 120}),
        (SVTPrivacy, {}),
        (SVTPrivacy, {"gamma": 0.01, "tau": 1e-3, "replace": False}),
        (ExcludeVars, {"exclude_vars": ["fc"]}),
        (ExcludeVars, {"exclude_vars": "^(fc|linear|classifier)"}),
    ]
    for kind, settings in cases:
        np.random.seed(0)
        shipped = kind(**settings)
        left = apply_filter(shipped, raw)
        first = spent(shipped)
        for _ in range(rounds - 1 if first is not None else 0):
            apply_filter(shipped, raw)
        label = ", ".join([kind.__name__, *(f"{key} {value}" for key, value in settings.items())])
        why = no_op_reason(kind.__name__, **settings)
        yield defense_facts(
            raw, left, defense=label, epsilon=first, epsilon_overall=spent(shipped), rounds=rounds, why=why
        )


def spent(shipped: Any) -> float | None:
    """Return the epsilon that a filter has spent by its own account, if it keeps one."""
    account = getattr(shipped, "get_privacy_spent", None)
    return None if account is None else float(account())


def table(rows: list[DefenseFacts]) -> str:
    """Return the facts as a Markdown table, with the sentence about every no-op below it."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cell.replace("|", r"\|") for cell in row.cells) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {row.sentences[0]}" for row in rows if row.no_op)])


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for package, facts in (("flwr", flower), ("nvflare", nvflare)):
        print(f"\n{package} {version_of(package)}\n\n{table(list(facts(rounds)))}")


if __name__ == "__main__":
    main()
