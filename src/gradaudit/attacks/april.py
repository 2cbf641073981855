"""APRIL (Lu et al., CVPR 2022): recover one image from a vision transformer's gradient, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import fold

from ..inversion.attack import Watch
from ..inversion.network.vision_transformer import first_projections, patch_embedding, position_embedding
from ..inversion.parts.labels._head import local_steps
from ..inversion.run.refusal import require_fit
from ..inversion.step.matching import explains
from ..models.copying import private_copy
from ..protocol.local_training import LocalTraining
from ..protocol.observation import Observation
from ..values.errors import AttackFailed
from ..values.types import Knowledge, Modality, Reconstruction
from ._certificate import label_of_one, recomputed
from ._demonstration import Demonstration

EXACT = 1e-3  # relative error of the adversary's own image up to which the closed form is valid on this model
ROUNDING = 0.1  # relative error of the solution due to rounding of the update above which a note says so


@dataclass(frozen=True)
class ClosedForm:
    """The tokens that entered the first attention, from the gradients of its projections and of the position embedding.

    With z `[T, d]` the tokens, A = ∂L/∂E_pos = ∂L/∂z and G_* = ∂L/∂W_* `[d, d]`,

        zᵀ A = Σ over *∈{Q, K, V} of G_*ᵀ W_*        (proposition 1 of the paper)

    if z enters nothing but the first attention. With A of rank T ≤ d this yields z by least squares; subtracting the
    position embedding and the class token yields the patches, by the inverse of the patch embedding.

    Most vision transformers are built otherwise: a LayerNorm precedes the attention and a residual connection bypasses
    it, and then the identity is invalid. The patch embedding is a linear layer too, and for it

        Xᵀ A = (∂L/∂W_patch)ᵀ        (X: the pixels of every patch, `[T, C p²]`; A without the class token)

    whatever follows; `through="patches"` solves this for X directly. Whether the identity is valid is tested, not
    inferred from names: the adversary trains its own copy of the model on a random image and inverts that. If this
    fails, the attack refuses and says why.

    The layouts of torchvision, timm and transformers are known (`vision_transformer`); tokens other than patches come
    first. The update is one FedSGD step or one local step; the label is iDLG's if it is not granted. The result does
    not depend on random choices.

    Args:
        name: Name in the literature.
        paper: arXiv id.
        through: The linear layer whose gradient is solved for its input.
        deviations: Differences from the paper.
    """

    name: str = "april"
    paper: str = "arXiv:2112.14087"
    through: Literal["attention", "patches"] = "attention"
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    modality: ClassVar[Modality] = Modality.PICTURES
    deviations: tuple[str, ...] = (
        "solves in double precision by least squares, where the paper uses the pseudo-inverse",
        "tests its condition on the adversary's own copy of the model first, which the paper does not",
    )

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Run the attack; neither the observation nor the global random state is changed.

        Args:
            seen: What the adversary sees.
            seed: Seed of the adversary's own image.
            watch: Callback, called once at the end.
            keep: Not used: the attack takes seconds.

        Raises:
            MissingKnowledge: The batch size was not granted.
            AttackFailed: There is more than one example or step, or the model lacks the required layers, or the closed
                form is invalid on it.
        """
        require_fit(self, seen.knowledge, seen.modality)
        if seen.batch_size != 1:
            raise AttackFailed(f"{self.name}: the closed form is for one example; this update has {seen.batch_size}.")
        if local_steps(seen) > 1:
            raise AttackFailed(f"{self.name}: the closed form is for one local step; the client took more.")
        transformer = (_Attention if self.through == "attention" else _Patches)(seen, self.name)
        transformer.require_exact(seed)
        update = {name: value.double().cpu() for name, value in seen.update.tensors.items()}
        found = transformer.solve(update)
        inputs, gap = found.inputs.to(seen.update.values[0]), found.gap
        labels = label_of_one(seen)
        if watch is not None:
            watch(1, 1, gap)
        return Reconstruction(
            inputs=seen.normalisation.invert(inputs),
            labels=labels.values if labels else None,
            objective=gap,
            verified=labels is not None and explains(recomputed(seen, inputs, labels.values), seen.update.values),
            labels_granted=seen.labels is not None,
            trace=(((1, gap),),),
            notes=(
                *found.notes(seen),
                *(labels.notes if labels else ("The label could not be inferred from this update.",)),
            ),
        )


class _Solution(NamedTuple):
    """An image `[1, C, H, W]`, normalised, with the residual and the condition number of its equations."""

    inputs: Tensor
    gap: float
    condition: float

    def notes(self, seen: Observation) -> tuple[str, ...]:
        """Return a note if rounding may affect the pixels."""
        if self.condition * torch.finfo(seen.update.values[0].dtype).eps < ROUNDING:
            return ()
        return (
            f"The gradient of the position embedding has the condition number {self.condition:.0e}: rounding errors of "
            "the update alone change the pixels.",
        )


class _Trial(NamedTuple):
    """The adversary's own image `[1, C, H, W]`, and its update."""

    inputs: Tensor
    update: dict[str, Tensor]


class _Patches:
    """The adversary's copy of the model, in double precision on the CPU, solved for its patch embedding's input."""

    def __init__(self, seen: Observation, name: str) -> None:
        self.seen, self.name = seen, name
        self.model = private_copy(seen.model).double().cpu().eval()
        self.parameters = dict(self.model.named_parameters())
        self.position = position_embedding(seen.update.tensors)
        self.patches: nn.Conv2d = patch_embedding(self.model)
        self.kernel = next(name for name, value in self.parameters.items() if value is self.patches.weight)
        side, (_, height, width) = self.patches.kernel_size[0], seen.input_shape
        self.count = (height // side) * (width // side)
        if height % side or width % side or len(self.embedding) < self.count:
            raise AttackFailed(f"{name}: the position embedding has fewer rows than the image has patches.")
        missing = [weight for weight in self.weights if weight not in seen.update.tensors]
        if missing:
            raise AttackFailed(f"{name}: the update contains no gradient of {missing[0]}.")

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the weights whose gradients are used besides the position embedding's."""
        return (self.kernel,)

    @property
    def embedding(self) -> Tensor:
        """E_pos, `[T, d]`."""
        return self.parameters[self.position].detach().flatten(0, -2)

    def system(self, update: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return Aᵀ `[d, T]` and the right side `[d, .]`."""
        return update[self.position].flatten(0, -2)[-self.count :].T, update[self.kernel].flatten(1)

    def pixels(self, solution: Tensor) -> Tensor:
        """Return the pixels `[C p², T]` of the solution of the system."""
        return solution.T

    def solve(self, update: dict[str, Tensor]) -> _Solution:
        """Solve by least squares. Raise `AttackFailed` if the gradient of the position embedding is zero."""
        matrix, right = self.system(update)
        singular = torch.linalg.svdvals(matrix)
        if not singular[0] > 0:
            raise AttackFailed(f"{self.name}: the gradient of the position embedding is zero.")
        found = torch.linalg.lstsq(matrix / singular[0], right / singular[0], driver="gelsd").solution
        gap = (matrix @ found - right).norm() / right.norm().clamp_min(torch.finfo(right.dtype).tiny)
        side, shape = self.patches.kernel_size[0], self.seen.input_shape[1:]
        inputs = fold(self.pixels(found).unsqueeze(0), shape, side, stride=side)
        return _Solution(inputs, float(gap), float(singular[0] / singular[-1]))

    def require_exact(self, seed: int) -> None:
        """Invert a random image of the adversary. Raise `AttackFailed` with the reason if it is not recovered."""
        trial = self._try(seed)
        found = self.solve(trial.update).inputs
        if float((found - trial.inputs).norm() / trial.inputs.norm()) <= EXACT:
            return
        raise AttackFailed(
            f"{self.name}: the closed form is invalid on this model, as the adversary's own image shows: "
            f"{self.reason(trial)}. Choose an attack by gradient matching, which may compare the position "
            "embedding's gradient too (PositionEmbedding)."
        )

    def _try(self, seed: int) -> _Trial:
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(1, *self.seen.input_shape, generator=generator, dtype=torch.float64)
        update = _training(self.seen)(self.model, inputs, torch.zeros(1, dtype=torch.long))
        named = zip((n for n, p in self.parameters.items() if p.requires_grad), update, strict=True)
        return _Trial(inputs, dict(named))

    def reason(self, trial: _Trial) -> str:
        """Return why the trial failed."""
        width, count = self.system(trial.update)[0].shape
        rank = int(torch.linalg.matrix_rank(self.system(trial.update)[0]))
        if rank < count:
            return f"the gradient of the position embedding has rank {rank}, below its {count} tokens of width {width}"
        return "the position embedding is not added to the patches as they leave the patch embedding"


class _Attention(_Patches):
    """The same as `_Patches`, solved for the input of the first attention."""

    @property
    def weights(self) -> tuple[str, ...]:
        return first_projections(self.model).names

    def system(self, update: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return Aᵀ `[d, T]` and bᵀ = Σ W_*ᵀ G_* `[d, d]`."""
        reached, gradient = update[self.position].flatten(0, -2), torch.cat([update[name] for name in self.weights])
        weight = torch.cat([self.parameters[name].detach() for name in self.weights])
        if gradient.shape != weight.shape or reached.shape[1] != weight.shape[1]:
            raise AttackFailed(f"{self.name}: position embedding and first attention differ in width.")
        return reached.T, weight.T @ gradient

    def pixels(self, solution: Tensor) -> Tensor:
        """Return the pixels of the tokens `[T, d]`: subtract the embedding, then invert the patch embedding."""
        bias = 0 if self.patches.bias is None else self.patches.bias.detach()
        embedded = (solution - self.embedding)[-self.count :] - bias
        return torch.linalg.lstsq(self.patches.weight.detach().flatten(1), embedded.T, driver="gelsd").solution

    def reason(self, trial: _Trial) -> str:
        (matrix, right), entered = self.system(trial.update), self._entered(trial.inputs)
        with torch.no_grad():
            embedded = self.patches(trial.inputs).flatten(2)[0].T + self.embedding[-self.count :]
        if not torch.allclose(entered[-self.count :], embedded, rtol=EXACT, atol=EXACT):
            return (
                "what enters the first attention is not the patches plus their position embedding (a LayerNorm, or "
                "another layer, stands between them, as in most vision transformers)"
            )
        if (matrix @ entered - right).norm() > EXACT * right.norm():
            return "another layer besides the first attention takes its input (a residual connection bypasses it)"
        pixels = self.patches.weight[0].numel()
        if pixels > len(self.patches.weight):
            return f"{pixels} pixels of a patch are undetermined by an embedding of width {len(self.patches.weight)}"
        return super().reason(trial)

    @torch.no_grad()
    def _entered(self, inputs: Tensor) -> Tensor:
        """Return the input of the first attention, `[T, d]`."""
        entered: list[Tensor] = []
        hook = first_projections(self.model).module.register_forward_pre_hook(
            lambda _, args, kwargs: entered.append(args[0] if args else kwargs["query"]), with_kwargs=True
        )
        try:
            self.model(inputs)
        finally:
            hook.remove()
        return entered[0].flatten(0, -2)


def _training(seen: Observation) -> LocalTraining:
    """Return one FedSGD step with the client's loss."""
    training = seen.assumed_training
    return LocalTraining(training.loss, batch_norm=training.batch_norm)


ATTACK = ClosedForm()

DEMONSTRATION = Demonstration(ATTACK, network="vit-april", size=32, seeded=False)
