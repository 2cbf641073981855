"""Peak memory of one gradient: `python -m benchmarks.memory [--network NAME] [--batch N] [--size PX] [--json]`.

Counts the bytes of all tensor storages that are alive at the same time, minus those alive before the step. The model's
parameters and the observed update are excluded; gradients, activations and temporaries are included. On a GPU, the
peak of the allocator is used.
"""

from __future__ import annotations

import argparse
import gc
import json
import weakref
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gradaudit.inversion.parts.objectives import Cosine
from gradaudit.inversion.parts.part import Progress
from gradaudit.inversion.step.matching import Matching
from gradaudit.inversion.step.one_step import assumed_step

from .machine import described
from .networks import NETWORKS, observe
from .step import naive_gradient

AT = Progress(0, 1)
MB = 2**20
CASES = (
    ("resnet18", 4, 224),
    ("resnet18", 1, 224),
    ("resnet18", 4, 32),
    ("resnet18-cifar-stem", 4, 32),
    ("convnet-64", 16, 32),
    ("vit-tiny", 4, 32),
    ("fedavg-cnn", 1, 32),
)


class Peak(TorchDispatchMode):
    """Follows every storage that an operation returns, until it is freed."""

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in known}
        self.alive: set[int] = set()
        self.now = self.most = 0

    def __torch_dispatch__(self, call, types, args=(), kwargs=None):
        result = call(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._follow(tensor.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known or key in self.alive:
            return
        self.alive.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.alive.discard(key)
        self.now -= size


def peak(call: Callable[[], object], known: list[Tensor]) -> float:
    """Return the peak memory of the second call in MB; the first call may cache facts about the network."""
    call()
    gc.collect()
    if known[0].is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return round((torch.cuda.max_memory_allocated() - before) / MB, 1)
    with Peak(known) as counter:
        call()
    return round(counter.most / MB, 1)


def measure(name: str, batch: int, size: int) -> dict:
    """Return the row of one case."""
    private, seen = observe(name, batch, size, "eval")
    x, y = torch.randn(private.inputs.shape, generator=torch.Generator().manual_seed(1)), private.labels
    known = [*seen.model.parameters(), *seen.model.buffers(), *seen.update.values, x, y]
    naive = Matching(seen, Cosine())

    def forward_backward() -> None:
        torch.autograd.grad(naive.one_step.loss(x, y), naive.one_step.parameters)

    row = {"network": name, "batch": batch, "size": size, "parameters_mb": _megabytes(list(seen.model.parameters()))}
    row["forward_backward_mb"] = peak(forward_backward, known)
    row["naive_mb"] = peak(lambda: naive_gradient(naive, x, y), known)
    for step in ("exact", "directional"):
        for checkpoint in (False, True):
            one = assumed_step(seen, checkpoint=checkpoint)
            matching = Matching(seen, Cosine().bind(seen), step, one)
            column = f"{step}{'_checkpointed' if checkpoint else ''}_mb"
            row[column] = peak(lambda matching=matching: matching.slope(x, y, [], AT), known)
    return row


def _megabytes(tensors: list[Tensor]) -> float:
    return round(sum(tensor.numel() * tensor.element_size() for tensor in tensors) / MB, 1)


def table(rows: list[dict]) -> str:
    """Return a Markdown table, with ratios to the naive double backward pass."""
    columns = ("parameters", "forward_backward", "naive", "exact", "exact_checkpointed", "directional")
    columns = (*columns, "directional_checkpointed")
    heads = [column.replace("_", " ") for column in columns]
    heads = ["network", "batch", "px", *heads, "exact / naive", "directional / naive", "checkpointed / naive"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        ratios = [row[f"{c}_mb"] / row["naive_mb"] for c in ("exact", "directional", "directional_checkpointed")]
        cells = [row["network"], row["batch"], row["size"], *(f"{row[f'{column}_mb']:.0f}" for column in columns)]
        lines.append("| " + " | ".join(map(str, [*cells, *(f"{ratio:.2f}" for ratio in ratios)])) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, or its rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--network", choices=NETWORKS)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cases = [(options.network, options.batch, options.size)] if options.network else CASES
    rows = [measure(*case) for case in cases]
    print(json.dumps({"rows": rows}) if options.json else f"{described()}; MB\n\n{table(rows)}")


if __name__ == "__main__":
    main()
