"""Detectors of modified models: `python -m benchmarks.detectors [--weights FOLDER] [--cifar CIFAR10_train.npz ...]`.

Prints Markdown. The false alarms on honest models, with Wilson's interval: the families of torchvision and the networks
of this package at initialisation with three seeds, the trained networks of the folder, and the rounds of small
federations, with and without a batch. The detections of each fixture, and what one gradient on it would give away in
closed form. How far each fixture can be changed until it passes.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, product
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from gradaudit import Normalisation
from gradaudit.client.detectors import DETECTORS
from gradaudit.client.exact_yield import ExactYield, exact_yield
from gradaudit.client.model_check import check_model
from gradaudit.client.received import Received, received
from gradaudit.data.sources.photographs import Photographs

from .federated_rounds import rounds
from .honest_models import SEEDS, Honest, classifiers, initialised, trained
from .machine import described
from .modified_models import FIXTURES, SIDE, before, changed

NORMALISATION = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BATCH, BATCHES = 8, 20
NETWORKS = ("mlp", "lenet")
UNGIVEN = ("model-inconsistency",)
WEIGHTS_ALONE = [name for name, kind in DETECTORS.items() if not kind.needs and name != "architecture-difference"]
NOISE = (0.0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
MIXED = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)


class Tally:
    """Alarms, judged cases and the range of every indicator, by detector."""

    def __init__(self) -> None:
        self.alarms: dict[str, list[str]] = defaultdict(list)
        self.judged: dict[str, set[str]] = defaultdict(set)
        self.range: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)

    def add(self, case: str, received_: Received, names: Iterable[str]) -> None:
        """Run the detectors `names`, which lack nothing, on one honest model."""
        for name in names:
            places = list(DETECTORS[name]().places(received_))
            if not places:
                continue
            self.judged[name].add(case)
            if any(all(one.fires for one in found) for _, found in places) and case not in self.alarms[name]:
                self.alarms[name].append(case)
            for one in (one for _, found in places for one in found):
                low, high = self.range[name].get(one.name, (one.value, one.value))
                self.range[name][one.name] = (min(low, one.value), max(high, one.value))

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield one row for each detector, and one for all together."""
        for name in self.judged:
            shown = "; ".join(f"{what}: {low:.3g} to {high:.3g}" for what, (low, high) in self.range[name].items())
            yield name, *rate(self.alarms[name], self.judged[name]), shown
        any_ = {case for cases in self.alarms.values() for case in cases}
        yield "any of them", *rate(sorted(any_), set().union(*self.judged.values())), ""


def rate(alarms: list[str], judged: set[str]) -> tuple[str, str]:
    """Return the false alarms with Wilson's interval, and which they are."""
    bounds = binomtest(len(alarms), len(judged)).proportion_ci(method="wilson")
    return f"{len(alarms)} of {len(judged)}", f"{bounds.low:.1%} to {bounds.high:.1%}{listed(alarms)}"


def listed(alarms: list[str]) -> str:
    return f" ({', '.join(alarms)})" if alarms else ""


def table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    for row in (headings, ("---",) * len(headings), *rows):
        print(f"| {' | '.join(row)} |")
    print(flush=True)


def honest(models: Iterable[Honest]) -> None:
    """Print the false alarms on weights alone; a model counts once, with all its seeds."""
    tally, seen = Tally(), set()
    for one in models:
        seen.add((one.name, one.seed))
        given = received(_Holder(), one.weights, seed=0)
        tally.add(one.name, given, WEIGHTS_ALONE)
    names = {name for name, _ in seen}
    untrained = {name for name, seed in seen if seed is not None}
    print("## Honest models, by their weights alone\n")
    print(f"{len(names)} models, {len(untrained)} of them at initialisation with {len(SEEDS)} seeds each; a model with")
    print("an alarm on any seed counts once. Intervals are Wilson's, 95 %.\n")
    table(("detector", "false alarms", "interval", "range"), tally.rows())


class _Holder(nn.Module):
    """The model of weights that are judged without one."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))


def federated(path: Path) -> None:
    """Print the false alarms over the rounds of small federations."""
    images, labels = pictures(path)
    inputs, tally, names = NORMALISATION.apply(images), Tally(), [name for name in DETECTORS if name not in UNGIVEN]
    for network, split, seed in product(NETWORKS, ("even", "two classes"), SEEDS):
        for one in rounds(inputs, labels, network, split, seed):
            state = dict(one.model.state_dict())
            given = received(one.model, state, before=one.before, inputs=one.inputs, labels=one.labels, seed=0)
            tally.add(one.name, given, names)
    print(f"## Honest rounds ({path.name})\n")
    print(f"Networks {', '.join(NETWORKS)}; an even split, and two classes for each client; three seeds; five rounds;")
    print(f"five clients with {BATCH} examples each. A federation with an alarm in any round counts once.\n")
    table(("detector", "false alarms", "interval", "range"), tally.rows())


def trained_batches(weights: Path, folder: Path) -> None:
    """Print the false alarms of trained networks on batches, and what they would be without the second condition."""
    tally, published, heavy, largest = Tally(), 0, 0, 0.0
    batches = 0
    for name, model, file in classifiers(weights):
        images, labels = pictures(folder / file)
        inputs = NORMALISATION.apply(images)
        with torch.no_grad():
            losses = nn.functional.cross_entropy(model.eval()(inputs), labels, reduction="none")
        largest = max(largest, float(losses.max()) / np.log(10))
        for number in range(BATCHES):
            some = torch.randperm(len(images), generator=torch.Generator().manual_seed(number))[:BATCH]
            given = received(model, inputs=inputs[some], labels=labels[some], seed=0)
            tally.add(f"{name}, batch {number}", given, ("d-snr", "gradient-concentration", "dead-units"))
            ratios = list(DETECTORS["d-snr"](loss=0).places(given))
            published += any(one[1][0].fires for one in ratios)
            heavy += next(DETECTORS["gradient-concentration"]().places(given))[1][0].fires
            batches += 1
    if not batches:
        return
    print("## Honest trained networks with a batch\n")
    table(("detector", "false alarms", "interval", "range"), tally.rows())
    print(
        f"By D-SNR above 5 alone, {published} of {batches} batches would be false alarms: a network that fits its batch"
    )
    print("leaves one example with nearly the whole gradient. By the share of the largest example alone, it would be")
    print(f"{heavy}. The largest loss of any test image is {largest:.1f} log K.\n")


def pictures(path: Path) -> tuple[Tensor, Tensor]:
    """Return images in [0, 1] and labels."""
    with np.load(path) as file:
        return torch.from_numpy(file["images"]).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(
            file["labels"]
        ).long()


def fixtures(data: Tensor) -> None:
    """Print which detectors see each fixture, and what one gradient would give away."""
    rows = []
    for name, make in FIXTURES.items():
        alone, full, found, usual = [], [], [], []
        for seed in SEEDS:
            model, last = make(data, seed), before(name, data, seed)
            alone.append(set(alarms_on(received(model))))
            given = with_batch(model, data, seed, last)
            full.append(set(alarms_on(given)))
            found.append(exact_yield(given))
            usual.append(exact_yield(with_batch(last, data, seed)))
        rows.append((name, counted(alone), counted(full), spread(found), spread(usual)))
    print("## Fixtures\n")
    print(
        f"Three seeds; {BATCH} photographs of {SIDE} pixels. In brackets: number of seeds, if not all. 'Leave exactly'"
    )
    print("is what one gradient gives away by quotients, of the fixture and of the honest model before.\n")
    table(("fixture", "alarms, weights alone", "alarms, batch and round before", "leave exactly", "honest"), rows)


def with_batch(model: nn.Module, data: Tensor, seed: int, last: nn.Module | None = None) -> Received:
    """Return a received model with eight images, of which one has the target class 3."""
    labels = torch.arange(len(data)) % 10
    mine = torch.arange(BATCH) + 10 * seed
    return received(model, dict(model.state_dict()), before=last, inputs=data[mine], labels=labels[mine])


def alarms_on(given: Received) -> list[str]:
    return [one.detector for one in check_model(given).alarms]


def counted(seeds: list[set[str]]) -> str:
    names = sorted(set().union(*seeds))
    times = {name: sum(name in one for one in seeds) for name in names}
    return ", ".join(name if count == len(seeds) else f"{name} ({count})" for name, count in times.items()) or "none"


def spread(yields: list[ExactYield]) -> str:
    values = [one.found for one in yields]
    shown = f"{min(values)} to {max(values)}" if min(values) < max(values) else f"{values[0]}"
    best = max(yields, key=lambda one: one.found)
    return f"{shown} of {best.inputs} {best.gives}"


def noised(model: nn.Module, size: float, seed: int) -> nn.Module:
    """Return a copy with Gaussian noise of `size` times the root mean square of each tensor."""
    generator = torch.Generator().manual_seed(seed)
    return changed(model, lambda _, v: v + size * v.square().mean().sqrt() * torch.randn(v.shape, generator=generator))


def mixed(model: nn.Module, share: float, seed: int) -> nn.Module:
    """Return a copy in which this share of the rows of every weight and bias of the modified layer is honest."""
    layer = modified_layer(model)
    fresh = nn.Linear(layer.in_features, layer.out_features)
    honest_rows = torch.randperm(layer.out_features, generator=torch.Generator().manual_seed(seed))
    rows = honest_rows[: round(share * layer.out_features)]
    return with_rows(model, layer, rows, fresh)


def with_rows(model: nn.Module, layer: nn.Linear, rows: Tensor, fresh: nn.Linear) -> nn.Module:
    def part(name: str, value: Tensor) -> Tensor:
        own = fresh.weight if value.shape == layer.weight.shape else fresh.bias
        if value.data_ptr() == 0 or not any(torch.equal(value, one) for one in (layer.weight, layer.bias)):
            return value
        value = value.clone()
        value[rows] = own[rows]
        return value

    return changed(model, part)


def modified_layer(model: nn.Module) -> nn.Linear:
    """Return the layer whose rows were set: the head for fishing, else the first wide linear layer."""
    linear = [one for one in model.modules() if isinstance(one, nn.Linear) and type(one) is nn.Linear]
    zeroed = [one for one in linear if (one.weight == 0).all(1).any()]
    return (zeroed or linear)[0]


def permuted(model: nn.Module, seed: int) -> nn.Module:
    """Return a copy whose modified layer has its units in another order."""
    layer = modified_layer(model)
    order = torch.randperm(layer.out_features, generator=torch.Generator().manual_seed(seed))
    return changed(
        model,
        lambda _, v: v[order] if any(torch.equal(v, one) for one in (layer.weight, layer.bias)) else v,
    )


def scaled(model: nn.Module, seed: int) -> nn.Module:
    """Return a copy whose modified layer has every unit scaled by its own factor in [0.01, 100]."""
    layer = modified_layer(model)
    power = torch.rand(layer.out_features, generator=torch.Generator().manual_seed(seed)) * 4 - 2
    factor = 10**power

    def part(_: str, v: Tensor) -> Tensor:
        if not any(torch.equal(v, one) for one in (layer.weight, layer.bias)):
            return v
        return v * (factor[:, None] if v.ndim == 2 else factor)

    return changed(model, part)


PERTURBED = {
    "imprint, mean": ("twin-rows", "bias-grid"),
    "imprint, random vector": ("twin-rows", "bias-grid"),
    "LOKI": ("twin-rows", "bias-grid"),
    "PEFTLeak": ("twin-rows", "bias-grid"),
    "trap weights": ("trap-weights",),
    "class fishing": ("zeroed-head",),
}


def perturbations(data: Tensor) -> None:
    """Print how far each fixture can be changed until a test of its weights no longer sees it."""
    rows = []
    for name, detectors in PERTURBED.items():
        for detector in detectors:
            passes = largest(NOISE, lambda size, n=name, d=detector: all_see(data, n, d, noised, size))
            share = largest(MIXED, lambda size, n=name, d=detector: all_see(data, n, d, mixed, size))
            order, factor = (
                "seen" if all(seen_after(data, name, detector, change, seed) for seed in SEEDS) else "passes"
                for change in (permuted, scaled)
            )
            exact = [exact_yield(with_batch(noised(FIXTURES[name](data, s), passes[1], s), data, s)) for s in SEEDS]
            rows.append(
                (name, detector, f"{passes[0]:g}", f"{passes[1]:g}", spread(exact), f"{share[0]:g}", order, factor)
            )
    print("## How much a fixture may be perturbed\n")
    print(
        "Largest noise (standard deviation over the root mean square of each tensor) and largest share of honest rows"
    )
    print("at which all three seeds are still seen by the test; 'then leave': what leaves exactly at the next noise.\n")
    table(("fixture", "test", "seen to noise", "passes at", "then leave", "honest rows", "permuted", "scaled"), rows)


def largest(values: tuple[float, ...], seen: Callable[[float], bool]) -> tuple[float, float]:
    """Return the last value that is seen, and the first one that is not (the last, if all are)."""
    held = values[0]
    for value in values:
        if not seen(value):
            return held, value
        held = value
    return held, held


def all_see(data: Tensor, name: str, detector: str, change: Callable[..., nn.Module], size: float) -> bool:
    return all(seen_after(data, name, detector, lambda m, s: change(m, size, s), seed) for seed in SEEDS)


def seen_after(data: Tensor, name: str, detector: str, change: Callable[..., nn.Module], seed: int) -> bool:
    model = FIXTURES[name](data, seed)
    layer = next(path for path, one in model.named_modules() if one is modified_layer(model))
    return sees(detector, change(model, seed), layer)


def sees(detector: str, model: nn.Module, layer: str) -> bool:
    """Return whether a detector sees this layer; it may see another one too, such as the constant one behind it."""
    places = DETECTORS[detector]().places(received(model, seed=0))
    return any(name.startswith(layer) and all(one.fires for one in found) for name, found in places)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="folder of trained networks (.npz)")
    parser.add_argument("--cifar", type=Path, help="folder with cifar10_train.npz and cifar10_test.npz")
    parser.add_argument("--only", choices=("fixtures", "rounds", "trained", "honest"), help="one part of the page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = {options.only} if options.only else {"fixtures", "rounds", "trained", "honest"}
    print(f"# Detectors of modified models\n\n{described()}\n")
    if "fixtures" in wanted:
        data = Photographs(size=SIDE).open().stack(list(range(60)))
        fixtures(data)
        perturbations(data)
    if options.cifar and "rounds" in wanted:
        federated(options.cifar / "cifar10_train.npz")
    if options.weights and options.cifar and "trained" in wanted:
        trained_batches(options.weights, options.cifar)
    if "honest" in wanted:
        honest(chain(trained(options.weights) if options.weights else (), initialised()))


if __name__ == "__main__":
    main()
