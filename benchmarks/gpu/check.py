"""Every attack on the case that comes with it, on the CPU and on the device: does it recover there as here?"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import fields, is_dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradaudit.attacks import EVERY_ATTACK, demonstration_of
from gradaudit.client.multimodal import MultiModalClient
from gradaudit.inversion.run import loop
from gradaudit.inversion.run.denoised import Denoised
from gradaudit.inversion.run.ensemble import Ensemble
from gradaudit.inversion.run.gradient_matching import GradientMatching
from gradaudit.inversion.run.mutual import MutualInversion
from gradaudit.values.errors import AttackFailed

from .place import HostWork, synchronisations, synchronise
from .rows import Case, Row, now_or_failed

TESTS = Path(__file__).resolve().parents[2] / "tests"
NEAR = {True: 1.0, False: 1e-3}  # dB or share by which an attack with random numbers, or without, may differ
SHORT, LONGER = 6, 16  # steps between which waits for the device are counted
QUICK = ("linear-bias", "r-gap", "inverting-gradients", "tableak")


def cases(device: str, quick: bool, limit: float) -> Iterator[Case]:
    """Yield one case for each attack; the CPU computes its own at the same time, in other processes."""
    names = QUICK if quick else tuple(EVERY_ATTACK)
    end = time.monotonic() + limit
    if quick:
        yield from (Case({"attack": name}, compared, (name, device), 120.0) for name in names)
        return
    workers = max(1, min(14, (os.cpu_count() or 2) - 2))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        here: dict[str, Future[Row]] = {name: pool.submit(attacked, name, "cpu") for name in names}
        for name in names:
            ours = partial(_beside, name, here[name], end)
            yield Case({"attack": name}, on_device, (name, device), 60.0, ours)
        pool.shutdown(wait=False, cancel_futures=True)


def _beside(name: str, here: Future[Row], end: float, row: Row) -> Row:
    return verdict(name, now_or_failed(here, end - time.monotonic()), row)


def compared(name: str, device: str) -> Row:
    """Return the row of one attack, with both computed in this process."""
    return verdict(name, attacked(name, "cpu"), on_device(name, device))


def on_device(name: str, device: str) -> Row:
    """Return what an attack reaches on the device in float64, and what it waits for.

    An attack by gradient matching runs again with CUDA graphs, any other in float32.
    """
    row = attacked(name, device)
    label, kind = ("graph", None) if graphed(demonstration_of(name).attack) else ("float32", torch.float32)
    try:
        again = attacked(name, device, kind, label == "graph")
        row |= {f"{label} gain": again["gain"], f"{label} s": again["s"]}
        if label == "graph":
            row["graph note"] = again["graph note"]
    except Exception as error:
        row[f"{label} gain"] = f"{type(error).__name__}: {error}"[:120]
    if device.startswith("cuda"):
        row |= waits(name, device)
    return row


def graphed(attack: Any) -> Any:
    """Return the attack with CUDA graphs, or `None` if it does not match gradients."""
    if isinstance(attack, GradientMatching):
        return replace(attack, graph=True)
    if isinstance(attack, MutualInversion):
        return replace(attack, teacher=graphed(attack.teacher), student=graphed(attack.student))
    within = graphed(attack.attack) if isinstance(attack, (Denoised, Ensemble)) else None
    return within and replace(attack, attack=within)


def attacked(name: str, device: str, kind: torch.dtype | None = None, graph: bool = False) -> Row:
    """Return how far an attack exceeds its control on its demonstration, and its seconds; `kind` replaces float64."""
    torch.set_num_threads(1)
    case, seen = observed(name, device, kind)
    synchronise(device)
    started = time.perf_counter()
    found = (graphed(case.attack) if graph else case.attack)(seen, seed=0)
    synchronise(device)
    seconds = time.perf_counter() - started
    away = [*_away(seen, device), *_away(found, device)]
    both = tuple(map(_here, found)) if isinstance(found, tuple) else _here(found)
    gain = _cases().case_of(demonstration_of(name), 0).gain(both)
    notes = [note for one in (found if isinstance(found, tuple) else (found,)) for note in one.notes]
    without = "; ".join(dict.fromkeys(note for note in notes if note.startswith("graph: ")))
    return {"gain": gain, "s": seconds, "away": away, **({"graph note": without or "used"} if graph else {})}


def observed(name: str, device: str, kind: torch.dtype | None = None) -> tuple[Any, Any]:
    """Return the demonstration with everything on the device, and what the adversary sees."""
    case = _cases().case_of(demonstration_of(name), 0)
    client = case.client
    both = isinstance(client, MultiModalClient)
    for one in (client.text, client.image) if both else (client,):
        one.model.to(device)
        if kind is not None and any(value.dtype == torch.float64 for value in one.model.parameters()):
            one.model.to(kind)
    case.batch = _moved(case.batch, device, kind)
    return case, case.share()


def verdict(name: str, here: Row, there: Row) -> Row:
    """Return one row from the results of the CPU and of the device."""
    shown = demonstration_of(name)
    row: Row = {"attack": name, "needed gain": shown.least, "CPU gain": here.get("gain"), "CPU s": here.get("s")}
    row |= {"gain": there.get("gain"), "s": there.get("s")}
    row |= {key: there[key] for key in there if key.startswith(("float32", "graph", "waits", "on the host"))}
    notes = [f"{where}: {one['error']}" for where, one in (("CPU", here), ("device", there)) if "error" in one]
    if "gain" in there:
        row["recovers"] = "yes" if there["gain"] > shown.least else "NO"
        if there.get("away"):
            notes.append(f"NOT ON THE DEVICE: {', '.join(there['away'])}")
        if "gain" in here and abs(here["gain"] - there["gain"]) > NEAR[shown.seeded]:
            cause = "other random numbers" if shown.seeded else "a closed form"
            notes.append(f"differs by {there['gain'] - here['gain']:+.3g} ({cause})")
    else:
        row["recovers"] = "-"
    return {**row, "note": "; ".join(notes), **({"row s": there["row s"]} if "row s" in there else {})}


def waits(name: str, device: str) -> Row:
    """Return how often an iteration of the attack, with its priors, waits for the GPU, and what runs on the CPU.

    Both are the differences between a longer and a shorter run without looks at the objective.
    """
    attack, stepped = _stepped(name, device)
    try:
        counts, host = ([_counted(name, device, attack(steps), what) for steps in stepped] for what in (True, False))
    except Exception as error:
        return {"waits": f"{type(error).__name__}: {error}"[:120]}
    if len(stepped) == 1:
        return {"waits": f"{sum(counts[0].values())} in all", "waits at": _most(counts[0]), "on the host": "-"}
    more = [Counter(longer) - Counter(shorter) for shorter, longer in (counts, host)]
    taken = LONGER - SHORT
    row: Row = {"waits": f"{sum(more[0].values()) / taken:.3g} a step", "waits at": _most(more[0])}
    return {**row, "on the host": f"{sum(more[1].values()) / taken:.3g} a step {_most(more[1])}"}


def _stepped(name: str, device: str) -> tuple[Any, tuple[int, ...]]:
    """Return a function of a number of steps that shortens the attack, and the numbers to compare."""
    shown = demonstration_of(name).attack
    for attack in (EVERY_ATTACK[name], shown):
        if not (is_dataclass(attack) and "stages" in {field.name for field in fields(attack)}):
            continue
        short = partial(_shortened, attack)
        try:
            _, seen = observed(name, device)
            short(2)(seen, seed=0)
        except AttackFailed:  # the whole attack needs another network, as for its priors
            continue
        return short, (SHORT, LONGER)
    return lambda _: shown, (0,)


def _shortened(attack: Any, steps: int) -> Any:
    last = len(attack.stages) - 1
    stages = tuple(replace(one, steps=steps if at == last else 1, moves=()) for at, one in enumerate(attack.stages))
    return replace(attack, stages=stages, iterates=(), restarts=1)


def _counted(name: str, device: str, attack: Any, waiting: bool) -> Counter[str]:
    _, seen = observed(name, device)
    points, loop.POINTS = loop.POINTS, 1
    try:
        work = HostWork()
        with synchronisations() if waiting else nullcontext(work.found) as found, nullcontext() if waiting else work:
            attack(seen, seed=0)
    finally:
        loop.POINTS = points
    return found


def _most(found: Counter[str]) -> str:
    return ", ".join(f"{place} ×{count}" for place, count in found.most_common(3))


def _moved(batch: Any, device: str, kind: torch.dtype | None) -> Any:
    """Return a batch on the device; its pictures get the type of the model."""
    changed = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            changed[field.name] = value.to(device, kind if kind and value.dtype == torch.float64 else value.dtype)
        elif is_dataclass(value) and any(isinstance(getattr(value, one.name), Tensor) for one in fields(value)):
            changed[field.name] = _moved(value, device, kind)
    return replace(batch, **changed)


def _away(value: Any, device: str, name: str = "") -> list[str]:
    """Return the names of tensors of an observation or a reconstruction that are not on the device."""
    if isinstance(value, Tensor):
        return [] if value.device.type == torch.device(device).type else [name]
    if isinstance(value, torch.nn.Module):
        return [f"{name}.{key}" for key, one in value.state_dict().items() for _ in _away(one, device, key)]
    if isinstance(value, dict):
        return [found for key, one in value.items() for found in _away(one, device, f"{name}.{key}")]
    if isinstance(value, (tuple, list)):
        return [found for at, one in enumerate(value) for found in _away(one, device, f"{name}[{at}]")]
    if is_dataclass(value) and not isinstance(value, type):
        inner = ((field.name, getattr(value, field.name)) for field in fields(value))
        return [found for key, one in inner for found in _away(one, device, f"{name}.{key}".lstrip("."))]
    return []


def _here(found: Any) -> Any:
    return replace(
        found,
        **{
            field.name: value.cpu()
            for field in fields(found)
            if isinstance(value := getattr(found, field.name), Tensor)
        },
    )


def _cases() -> Any:
    """Return the module of the tests that builds a client for a demonstration."""
    if str(TESTS) not in sys.path:
        sys.path.insert(0, str(TESTS))
    import demonstrations

    return demonstrations
