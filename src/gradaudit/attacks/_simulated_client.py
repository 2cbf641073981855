"""The client as an adversary simulates it: from chosen images to the updates that it would share."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from ..protocol.defenses import ActsOn, Defense, Scene
from ..protocol.defenses._acting import acting_on, changed_batch, changed_training
from ..protocol.local_training import LocalTraining, batch_norm_mode, penalised
from ..protocol.local_training.modes import draws_noise
from ..protocol.observation import Observation
from ..values.types import Normalisation, Tensors, Update

NO_RULE = (RuntimeError, ValueError, TypeError, NotImplementedError)
"""What `torch.func` raises for a model, a loss or a defense that it cannot map over many updates."""
FLOATS = 2**26  # numbers in the updates that are simulated at a time


@dataclass(frozen=True, eq=False)
class SimulatedClient:
    """What an adversary knows of a client, from which it simulates updates of images that it chooses.

    Random numbers come from torch's global generator, which the caller seeds. A defense that remembers earlier rounds
    is in its first one.

    Args:
        model: The model that the server sent, with the changes of the defenses; it is never changed.
        training: The local training, as far as it is known.
        input_shape: `(C, H, W)`.
        batch_size: B.
        classes: K.
        normalisation: The client's normalisation.
        defenses: The defenses that are known.
        scaled: Whether the length of an update is known; if not, every update is scaled to length 1.
    """

    model: nn.Module = field(repr=False)
    training: LocalTraining
    input_shape: tuple[int, ...]
    batch_size: int
    classes: int
    normalisation: Normalisation = Normalisation()
    defenses: tuple[Defense, ...] = ()
    scaled: bool = True

    @classmethod
    def of(cls, seen: Observation, batch_size: int) -> SimulatedClient:
        """Return the client of an observation. Raise `AttackFailed` if its loss has no logit for each class."""
        return cls(
            model=seen.model,
            training=seen.assumed_training,
            input_shape=seen.input_shape,
            batch_size=batch_size,
            classes=seen.classes,
            normalisation=seen.normalisation,
            defenses=seen.defenses or (),
            scaled=seen.training is not None,
        )

    @property
    def entries(self) -> int:
        """m, the number of entries of an update."""
        return sum(parameter.numel() for parameter in self.training.shared_parameters(self.model).values())

    @property
    def at_once(self) -> int:
        """How many updates are simulated at a time."""
        return max(1, FLOATS // self.entries)

    def updates(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return one update in each row, `[n, m]`, its tensors side by side.

        Args:
            images: `[n, B, C, H, W]` in [0, 1].
            labels: `[n, B]`, classes.
        """
        inputs = self.normalisation.apply(images.to(next(self.model.parameters())))
        early = acting_on(self.defenses, ActsOn.BATCH) or acting_on(self.defenses, ActsOn.TRAINING)
        found = None if early else self._gradients(inputs, labels)
        sent = None if found is None else self._protected(found)
        if sent is None:
            undefended = [None] * len(inputs) if found is None else zip(*found, strict=True)
            rows = [self._one(*row) for row in zip(inputs, labels, undefended, strict=True)]
            sent = tuple(torch.stack(tensors) for tensors in zip(*rows, strict=True))
        return self.flat(sent)

    def flat(self, tensors: Sequence[Tensor]) -> Tensor:
        """Return updates side by side as rows `[n, m]`, of length 1 if the length of an update is not known.

        Args:
            tensors: Each `[n, *shape]`.
        """
        rows = torch.cat([tensor.flatten(1) for tensor in tensors], 1)
        return rows if self.scaled else nn.functional.normalize(rows, eps=torch.finfo(rows.dtype).tiny)

    def _gradients(self, inputs: Tensor, labels: Tensor) -> Tensors | None:
        """Return the undefended gradients of all batches from one pass, `[n, *shape]` each; `None` if that fails."""
        training, model = self.training, self.model
        several = not training.single_step or training.batch_norm != "eval"
        if several or training.dropout or any(map(draws_noise, model.modules())):
            return None
        shared = {name: value.detach() for name, value in training.shared_parameters(model).items()}

        def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return penalised(training.loss(functional_call(model, parameters, (x.clone(),)), y), model.modules())

        try:
            with batch_norm_mode(model, "eval"), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # an operation without a batching rule is only slower
                found: dict[str, Tensor] = vmap(grad(loss), (None, 0, 0))(shared, inputs, labels)
        except NO_RULE:
            return None
        return tuple(found.values())

    def _protected(self, found: Tensors) -> Tensors | None:
        """Return many updates after the defenses that change them, in one pass; `None` if that fails."""
        acting = acting_on(self.defenses, ActsOn.UPDATE)
        if not acting:
            return found
        if any(type(defense).apply is not Defense.apply for defense in acting):
            return None
        try:
            return vmap(lambda row: reduce(lambda sent, one: one.protect(sent), acting, row), randomness="different")(
                found
            )
        except NO_RULE:
            return None

    def _one(self, inputs: Tensor, labels: Tensor, undefended: Tensors | None) -> Tensors:
        """Return the update of one batch, by the client's own training if it is not given before its defenses."""
        if undefended is None:
            inputs, labels = changed_batch(self.defenses, inputs, labels, self.classes, _drawn())
            undefended = self.training(self.model, inputs, labels, seed=_drawn(), **changed_training(self.defenses))
        return self._sent(undefended, inputs, labels)

    def _sent(self, tensors: Tensors, inputs: Tensor, labels: Tensor) -> Tensors:
        """Return an update after the defenses that change it."""
        acting = acting_on(self.defenses, ActsOn.UPDATE)
        if not acting:
            return tensors
        names = self.training.shared_parameters(self.model)
        update = Update(dict(zip(names, tensors, strict=True)), self.training.kind, examples=self.batch_size)
        for defense in acting:
            scene = Scene(self.model, inputs, labels, self.training.loss, self.training.steps(len(inputs)))
            update = defense.apply(update, scene)
        return update.values


def _drawn() -> int:
    return int(torch.randint(2**31, ()))
