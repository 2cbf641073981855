"""Seeds, restarts and updates in one pass, for networks so small that function calls cost more than the arithmetic.

The exact route, mapped over the candidates (`torch.func.vmap`). The gain or loss on different networks is measured in
benchmarks/results/together.md: a mapped convolution becomes a grouped one, which a CPU computes slowly.

Memory: a pass needs about `COPIES` times the parameters and activations of one candidate, for each candidate in it. As
many candidates run at once as fit into `ROOM` bytes on a CPU, or into half of a GPU's free memory; if the GPU runs out
of memory, their number is halved.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from ...protocol.local_training import penalised
from ...values.errors import AttackFailed
from ..parts.label_values import Labels
from ..parts.part import Part, Progress, Stage
from ..step.matching import Matching, Slope
from ..step.routes import BoundTerm, weighted

SMALL = 200_000  # parameters up to which one pass was measured faster on a CPU (benchmarks/results/together.md)
COPIES = 5
ROOM = 2**30  # bytes


def why_not(parts: Sequence[Part], stages: Sequence[Stage], matching: Matching) -> str | None:
    """Return why candidates of an attack with these parts cannot share a pass, or `None` if they can."""
    stuck = [part for part in parts if not part.independent]
    if stuck:
        return f"{stuck[0]!r} is not independent of other candidates."
    for stage in stages:
        if not stage.optimiser.independent:
            return f"{type(stage.optimiser).__name__} does not optimise every candidate separately."
    if matching.one_step is None or matching.routes.step == "directional":
        return "only the exact gradient of a single local step can be computed for many candidates at once."
    if matching.seen.defenses:
        return "the adversary simulates defenses."
    trains = matching.training.batch_norm == "train"
    if trains and any(isinstance(module, _BatchNorm) for module in matching.seen.model.modules()):
        return "BatchNorm layers in training mode record the statistics of every candidate."
    return None


def pays(model: nn.Module) -> bool:
    """Return whether one pass was measured to be faster than one candidate after another."""
    return sum(parameter.numel() for parameter in model.parameters()) <= SMALL


class OnePass:
    """The gradients of all candidates in one pass.

    Args:
        matchings: One for each candidate, of updates of the same model.
        chunk: Number of candidates at once; by the memory rule if not given.
    """

    def __init__(self, matchings: Sequence[Matching], chunk: int | None = None) -> None:
        self.matching = matchings[0]
        updates = [matching.seen.update.values for matching in matchings]
        self.one_update = all(matching is matchings[0] for matching in matchings)
        self.observed = (
            updates[0] if self.one_update else tuple(torch.stack(tensors) for tensors in zip(*updates, strict=True))
        )
        self.count, self.chunk = len(matchings), chunk

    def slope(self, inputs: Tensor, labels: Tensor, terms: Sequence[BoundTerm], at: Progress) -> Slope:
        """Return the objective and the gradients, each with a leading axis of candidates.

        Args:
            inputs: `[G, B, C, H, W]`.
            labels: `[G, B]` integers, or `[G, B, K]` logits.
            terms: Priors with their weights.
            at: Progress, passed to the parts.

        Raises:
            AttackFailed: Not even one candidate fits into memory.
        """
        if self.chunk is None:
            self.chunk = min(self.count, fitting(self.matching, inputs[0]))
        wanted = (0, 1) if labels.is_floating_point() else (0,)
        mapped = self._mapped(wanted, terms, at)
        dims = (0, 0, *(None if self.one_update else 0 for _ in self.observed))
        while True:
            try:
                found, value, total = vmap(mapped, dims, chunk_size=self.chunk)(inputs, labels, *self.observed)
                return Slope(value, total, found[0], found[1:])
            except torch.OutOfMemoryError as refusal:
                if self.chunk == 1:
                    raise AttackFailed(
                        "the GPU's memory is too small for one candidate. Set checkpoint: true, or use a smaller batch."
                    ) from refusal
                self.chunk //= 2
                torch.cuda.empty_cache()

    def _mapped(self, wanted: tuple[int, ...], terms: Sequence[BoundTerm], at: Progress) -> Callable:
        matching, model = self.matching, self.matching.seen.model
        assert matching.one_step is not None
        names, start = zip(*((name, value.detach()) for name, value in matching.one_step.named.items()), strict=True)

        def loss(parameters: tuple[Tensor, ...], x: Tensor, y: Tensor) -> Tensor:
            logits = functional_call(model, dict(zip(names, parameters, strict=True)), (x.clone(),))
            return penalised(matching.training.loss(logits, Labels.target(y, matching.training.loss)), model.modules())

        def whole(x: Tensor, y: Tensor, *observed: Tensor) -> tuple[Tensor, Tensor]:
            value = matching.distance(grad(loss)(start, x, y), observed, at)
            return value + sum(weighted(terms, x, at)), value

        def one(x: Tensor, y: Tensor, *observed: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
            found, (total, value) = grad_and_value(whole, argnums=wanted, has_aux=True)(x, y, *observed)
            return found, value, total

        return one


def fitting(matching: Matching, inputs: Tensor) -> int:
    """Return how many candidates `[B, C, H, W]` run at once by the memory rule, at least 1."""
    each = needed(matching, inputs)
    room = torch.cuda.mem_get_info(inputs.device)[0] // 2 if inputs.is_cuda else ROOM
    return max(1, room // each)


@torch.no_grad()
def needed(matching: Matching, inputs: Tensor) -> int:
    """Return the bytes that one candidate `[B, C, H, W]` takes in a pass by the memory rule."""
    sizes = [parameter.numel() * parameter.element_size() for parameter in matching.seen.model.parameters()]
    hooks = [
        module.register_forward_hook(lambda _, __, out: sizes.append(out.numel() * out.element_size()))
        for module in matching.seen.model.modules()
        if not list(module.children())
    ]
    try:
        matching.seen.model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return COPIES * sum(sizes)
