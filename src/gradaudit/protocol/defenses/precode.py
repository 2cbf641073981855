"""PRECODE: a variational bottleneck before the last layer makes the gradients random (Scheliga et al., 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...models.copying import private_copy
from ...values.memory import require_memory
from ...values.types import Tensors
from ._defense import ActsOn, Defense, Distance, Doubt, RoundWork, require
from ._replacing import last_linear, replace_layer

RIDGE = 1e-8  # added to a Gram matrix of trace 1: directions below it are rounding errors
SEED = 2108  # of the initial weights of the bottleneck: server and clients draw the same ones


@dataclass(frozen=True)
class Precode(Defense):
    """PRECODE: inserts a variational bottleneck before the last `Linear` layer (Scheliga et al., 2022, section 4).

    For the input h of that layer, `(μ, log σ²) = encoder(h)`, `z = μ + σ · ε` with ε from N(0, 1), and the layer
    receives `decoder(z)`. Encoder and decoder are linear. The loss is that of the task plus
    `beta · KL(N(μ, σ²) || N(0, 1))`, summed over the k entries and averaged over the examples. ε is drawn in training
    mode, which local training switches on for the client alone; otherwise z = μ, as an adversary and an evaluation
    compute it. The weights of encoder and decoder are drawn as torch draws those of `Linear`, from a fixed seed
    (`SEED`), so that server and clients have the same model. If a model contains the bottleneck already, it is left as
    it is.

    An adversary that knows this defense compares linear layers alone, from the input to the encoder. The gradient of
    such a layer is a sum over the examples of (the gradient that comes back) times (features, 1), and ε changes the
    first factor alone. Row spaces are compared, therefore: the mismatch is the share of the observed gradient outside
    the row space of the candidate's, a mean over the layers. Leaving out the bottleneck and what follows it, and
    matching the tensors before it by the objective of the attack (Balunović et al., 2022, section 5), recovers less,
    because the gradient that comes back changes these tensors too.

    Args:
        k: Size of the bottleneck, at least 1.
        beta: Weight of the divergence, at least 0.
    """

    paper: ClassVar[str] = "arXiv:2108.04725"
    acts_on: ClassVar[ActsOn] = ActsOn.MODEL
    doubt: ClassVar[Doubt] = Doubt(
        "the client drew random numbers inside the network, so that the private examples do not have the lowest "
        "objective. An adversary that knows the defense (DEFENSE) compares the layers before them and may recover more",
        "its equations may use layers that the random numbers changed",
    )
    k: int = 256
    beta: float = 1e-3

    def __post_init__(self) -> None:
        require(self.k >= 1, self, "k must be at least 1")
        require(self.beta >= 0, self, "beta must be at least 0")

    def change_model(self, model: nn.Module) -> nn.Module:
        """Return a copy of the model with the bottleneck; raise `AuditError` without a `Linear` layer or the memory."""
        name = last_linear(model, self)
        if _bottleneck(model) is not None:
            return model
        changed = private_copy(model)
        layer = changed.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        weights = 3 * layer.in_features * self.k
        require_memory(weights * layer.weight.element_size(), f"{self.name}: a bottleneck of size {self.k}", "Lower k.")
        inserted = VariationalBottleneck(layer.in_features, self.k, self.beta).to(layer.weight)
        return replace_layer(changed, name, nn.Sequential(inserted, layer))

    def compared(self, model: nn.Module, names: Sequence[str]) -> Sequence[str]:
        """Return the names of the tensors up to the encoder of the bottleneck; all names if there are none.

        Args:
            model: The model that the server sent.
            names: Names of the tensors in the update.
        """
        place = _bottleneck(model)
        whole = [name for name, _ in model.named_parameters()]
        decoder = f"{place}decoder."
        first = next((i for i, name in enumerate(whole) if place is not None and name.startswith(decoder)), len(whole))
        before = set(whole[:first])
        return [name for name in names if name in before] or names

    def mismatch(self, candidate: Tensors, observed: Tensors, distance: Distance) -> Tensor:
        """Return the mean share of observed gradients of linear layers outside the candidate's row spaces, in [0, 1].

        Without a linear layer it is the attack's own distance.
        """
        pairs = zip(_linear_gradients(candidate), _linear_gradients(observed), strict=True)
        shares = [_outside(ours, theirs) for ours, theirs in pairs if bool(theirs.any())]
        return torch.stack(shares).mean() if shares else distance(candidate, observed)

    def remarks(self, work: RoundWork) -> tuple[str, ...]:
        """Return the sentence on where the bottleneck is."""
        place = _bottleneck(work.model)
        layer = (place or "").removesuffix(".").rpartition(".")[0] or "the last one"
        return (f"{self.name} inserted a bottleneck of size {self.k} before layer {layer}: the audited model is not "
                "the original one.",)  # fmt: skip


class VariationalBottleneck(nn.Module):
    """A layer `[..., features] -> [..., features]` that samples a code, and adds its divergence to the loss.

    Args:
        features: Number of features.
        k: Size of the code.
        beta: Weight of the divergence.
    """

    draws_noise = True

    def __init__(self, features: int, k: int, beta: float) -> None:
        super().__init__()
        self.beta = beta
        self.penalty: Tensor | None = None  # `penalised` adds it to the loss
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            self.encoder = nn.Linear(features, 2 * k)
            self.decoder = nn.Linear(k, features)

    def forward(self, features: Tensor) -> Tensor:
        """Return the decoded code, random in training mode."""
        mean, log_variance = self.encoder(features).chunk(2, dim=-1)
        code = mean + (log_variance / 2).exp() * torch.randn_like(mean) if self.training else mean
        divergence = (mean.square() + log_variance.exp() - log_variance - 1).sum(-1).mean() / 2
        self.penalty = self.beta * divergence if torch.is_grad_enabled() else None
        decoded: Tensor = self.decoder(code)
        return decoded


def _bottleneck(model: nn.Module) -> str | None:
    """Return the beginning of the names of the bottleneck's parameters, with its full stop, or `None` without one."""
    found = (name for name, module in model.named_modules() if isinstance(module, VariationalBottleneck))
    return next((f"{name}." if name else "" for name in found), None)


def _linear_gradients(tensors: Tensors) -> list[Tensor]:
    """Return the gradient of every matrix, joined with that of a bias which follows it, `[out, in + 1]`."""
    found = []
    for tensor, following in zip(tensors, (*tensors[1:], None), strict=True):
        if tensor.ndim == 2:
            bias = following is not None and following.shape == tensor.shape[:1]
            found.append(torch.cat([tensor, following[:, None]], 1) if bias and following is not None else tensor)
    return found


def _outside(candidate: Tensor, observed: Tensor) -> Tensor:
    """Return the share of the squared norm of `observed` outside the row space of `candidate`, both `[m, n]`."""
    ours, theirs = candidate.double(), observed.double()
    ours = ours / ours.norm().clamp_min(torch.finfo(torch.float32).tiny)
    if ours.shape[0] > ours.shape[1]:  # the smaller of the two Gram matrices
        gram = ours.T @ ours
        inside = (theirs.T @ theirs * torch.linalg.solve(_ridged(gram), gram)).sum()
    else:
        mixed = ours @ theirs.T
        inside = (mixed * torch.linalg.solve(_ridged(ours @ ours.T), mixed)).sum()
    return (1 - inside / theirs.square().sum()).to(candidate)


def _ridged(gram: Tensor) -> Tensor:
    return gram + RIDGE * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
