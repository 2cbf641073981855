"""PRECODE: a variational bottleneck before the last layer makes the gradients random (Scheliga et al., 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...models.copying import private_copy
from ._defense import ActsOn, Defense, Doubt, RoundWork, require
from ._replacing import last_linear, replace_layer

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

    An adversary that knows this defense compares the tensors of the layers before the bottleneck alone (Balunović et
    al., 2022, section 5). These depend on ε only through the gradient that comes back to them: that of a linear layer
    on the input is still (that gradient) times the input.

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
        """Return a copy of the model with the bottleneck; raise `AuditError` if it has no `Linear` layer."""
        name = last_linear(model, self)
        if _bottleneck(model) is not None:
            return model
        changed = private_copy(model)
        layer = changed.get_submodule(name)
        assert isinstance(layer, nn.Linear)
        inserted = VariationalBottleneck(layer.in_features, self.k, self.beta).to(layer.weight)
        return replace_layer(changed, name, nn.Sequential(inserted, layer))

    def compared(self, model: nn.Module, names: Sequence[str]) -> Sequence[str]:
        """Return the names of the tensors before the bottleneck; all names if there are none.

        Args:
            model: The model that the server sent.
            names: Names of the tensors in the update.
        """
        place = _bottleneck(model)
        whole = [name for name, _ in model.named_parameters()]
        first = next((i for i, name in enumerate(whole) if place is not None and name.startswith(place)), len(whole))
        before = set(whole[:first])
        return [name for name in names if name in before] or names

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
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            self.encoder = nn.Linear(features, 2 * k)
            self.decoder = nn.Linear(k, features)

    def forward(self, features: Tensor) -> Tensor:
        """Return the decoded code, random in training mode."""
        mean, log_variance = self.encoder(features).chunk(2, dim=-1)
        code = mean + (log_variance / 2).exp() * torch.randn_like(mean) if self.training else mean
        divergence = (mean.square() + log_variance.exp() - log_variance - 1).sum(-1).mean() / 2
        decoded: Tensor = self.decoder(_Penalised.apply(code, self.beta * divergence))
        return decoded


class _Penalised(torch.autograd.Function):
    """The first argument; a backward pass also follows the second one, as if it were added to the loss."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, penalty: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor]:
        return slope, torch.ones_like(ctx.saved_tensors[0])

    @staticmethod
    def jvp(ctx: Any, values: Tensor, penalty: Tensor) -> Tensor:
        return values.clone()


def _bottleneck(model: nn.Module) -> str | None:
    """Return the beginning of the names of the bottleneck's parameters, with its full stop, or `None` without one."""
    found = (name for name, module in model.named_modules() if isinstance(module, VariationalBottleneck))
    return next((f"{name}." if name else "" for name in found), None)
