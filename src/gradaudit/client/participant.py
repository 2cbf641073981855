"""The federated-learning client under audit: it trains on a private batch, defends its update, and shares it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..data.modalities import check_inputs
from ..models.copying import private_copy
from ..protocol.defenses import Defense, describe
from ..protocol.local_training import LocalTraining, batch_norm_mode, rules_of, tensors_of
from ..protocol.observation import Observation
from ..values.chance import child_seed
from ..values.errors import AuditError, guarded
from ..values.granting import Granted, granted
from ..values.image_statistics import image_statistics
from ..values.types import Batch, Knowledge, Modality, Normalisation, Update
from .defense_effect import EffectLog, Note, unnoted
from .granted import public_examples, text_lengths

SAME = 1e-3  # largest difference of two forward passes, relative to the largest logit, that counts as rounding


@dataclass(frozen=True, eq=False)
class Client:
    """A federated-learning client: a model, its local training and the defenses on its update.

    Args:
        model: The model that the server sent. It is never changed and never sees a private example: a copy trains.
        training: The local training.
        defenses: The defenses, applied to the update in this order.
        normalisation: Applied to images in [0, 1] before the model; text and rows are not normalised.
        model_name: Name of the model in reports; the name of its class by default.

    >>> client = ga.Client(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 5)))
    >>> client.share(ga.Batch(torch.rand(1, 1, 4, 4), torch.tensor([3])), ["priors", "LABELS"]).labels
    tensor([3])
    """

    model: nn.Module = field(repr=False)
    training: LocalTraining = field(default_factory=LocalTraining)
    defenses: tuple[Defense, ...] = ()
    normalisation: Normalisation = Normalisation()
    model_name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "defenses", tuple(self.defenses))
        object.__setattr__(self, "model_name", self.model_name or type(self.model).__name__)

    @property
    def described(self) -> str:
        """Its name in reports: its defenses."""
        return ", ".join(map(describe, self.defenses)) or "no defense"

    def train(self, batch: Batch, *, seed: int = 0) -> Update:
        """Return the update before any defense, with the model's buffers after local training.

        Args:
            batch: The private examples, on the model's device.
            seed: Seed of shuffling and dropout; the global random state is not changed.

        Raises:
            AuditError: The batch does not fit the model, two forward passes over the same batch give different
                logits, or the update contains NaN or infinity.
        """
        model = private_copy(self.model)
        _check(self, model, batch)
        with guarded(f"{self.model_name}: cannot train on a batch of shape {_shape(batch.inputs)}"):
            tensors, buffers = self.training.train(
                model, self._inputs(batch), batch.labels.clone(), seed=own_seed("training", seed, batch)
            )
        names = self.training.shared_parameters(self.model)
        update = Update(dict(zip(names, tensors, strict=True)), self.training.kind, buffers, len(batch))
        return _check_finite(update)

    def protected(self, batch: Batch, *, seed: int = 0, note: Note = unnoted) -> tuple[Update, tuple[Defense, ...]]:
        """Return the defended update, and the defenses that did not change it; arguments as for both."""
        return self.defend(self.train(batch, seed=seed), seed=own_seed("defenses", seed, batch), note=note)

    def share(
        self, batch: Batch, knowledge: Granted, *, seed: int = 0, public: Batch | Tensor | None = None
    ) -> Observation:
        """Train, apply the defenses, and return what `knowledge` grants the adversary.

        Args:
            batch: The private examples, on the model's device.
            knowledge: The threat model, as flags or by name: `"priors"`, `["priors", "LABELS"]`.
            seed: Seed of shuffling, dropout and the noise of the defenses; the global random state is not changed.
            public: Public examples of the same kind as the client's, such as images `[N, C, H, W]` in [0, 1], or a
                `Batch` with their labels. The adversary sees them if `knowledge` contains PUBLIC_DATA, without those
                that equal or nearly equal a private example (`modalities.private_among`).

        Raises:
            AuditError: `train` raises it, the public examples differ from the private ones in shape or range, or all
                of them are private.
        """
        return self.prepare(batch, seed=seed).show(knowledge, public=public)

    def prepare(self, batch: Batch, *, seed: int = 0) -> SharedUpdate:
        """Return the update of one batch as a value that trains once, on first use; arguments as for `share`."""
        return SharedUpdate(self, batch, seed)

    def observed(
        self, update: Update, batch: Batch, knowledge: Knowledge, public: Batch | Tensor | None = None
    ) -> Observation:
        """Return what `knowledge` grants of a defended `update` of `batch`; arguments and errors as for `share`."""
        model, update = _sent(self, update, batch, knowledge)
        buffers = update.buffers if self.training.share_buffers else None
        size = len(batch) if Knowledge.BATCH_SIZE in knowledge else None
        kept = replace(update, tensors=_copied(update.tensors), buffers=buffers and _copied(buffers), examples=size)
        pictures, classes = public_examples(public, batch) if Knowledge.PUBLIC_DATA in knowledge else (None, None)
        return Observation(
            model=model,
            update=kept,
            input_shape=tuple(batch.inputs.shape[1:]),
            normalisation=self.normalisation if batch.modality is Modality.PICTURES else Normalisation(),
            loss=self.training.loss,
            batch_norm=self.training.batch_norm,
            knowledge=knowledge,
            batch_size=size,
            labels=batch.labels.clone() if Knowledge.LABELS in knowledge else None,
            training=self.training if self.training.single_step or Knowledge.LOCAL_TRAINING in knowledge else None,
            defenses=self.defenses if Knowledge.DEFENSE in knowledge else None,
            batch_statistics=_statistics(self, batch) if Knowledge.BATCH_STATISTICS in knowledge else None,
            public_data=pictures,
            public_labels=classes,
            modality=batch.modality,
            lengths=text_lengths(batch) if Knowledge.BATCH_SIZE in knowledge else None,
            text=batch.text,
            table=batch.table,
            image_statistics=image_statistics(batch.inputs) if _oracle(batch, knowledge) else None,
        )

    def _inputs(self, batch: Batch) -> Tensor:
        """Return a copy of the model's inputs: images normalised, floats in the precision of the model."""
        inputs = self.normalisation.apply(batch.inputs) if batch.modality is Modality.PICTURES else batch.inputs
        precision = next((p.dtype for p in self.model.parameters() if p.is_floating_point()), inputs.dtype)
        return inputs.to(precision if inputs.is_floating_point() else inputs.dtype, copy=True)

    def defend(self, update: Update, *, seed: int = 0, note: Note = unnoted) -> tuple[Update, tuple[Defense, ...]]:
        """Return the update after all defenses, and the defenses that did not change it.

        Args:
            update: The result of `train`.
            seed: Seed of the noise, used as it is; `protected` derives one that depends on the private batch.
            note: Called after each defense with its position, itself, and the update before and after it.
        """
        idle: list[Defense] = []
        with torch.random.fork_rng(devices=_cuda(update)):
            torch.manual_seed(seed)
            for place, defense in enumerate(self.defenses):
                before, update = update, defense(update)
                note(place, defense, before, update)
                if all(map(torch.equal, before.values, update.values)):
                    idle.append(defense)
        return _check_finite(update), tuple(idle)


@dataclass(frozen=True, eq=False)
class SharedUpdate:
    """The update that a client shares of one batch: trained and defended once, on first use.

    All attacks and all levels of knowledge use the same update, and so do `idle` and `log`.

    Args:
        client: The client that shares the update.
        batch: The private examples.
        seed: Seed as for `Client.share`.
    """

    client: Client
    batch: Batch
    seed: int = 0

    @cached_property
    def _protected(self) -> tuple[Update, tuple[Defense, ...], EffectLog]:
        log = EffectLog()
        update, idle = self.client.protected(self.batch, seed=self.seed, note=log.note)
        log.close()
        return update, idle, log

    @property
    def log(self) -> EffectLog:
        """What each defense did to the update. Raises the errors of `Client.train`."""
        return self._protected[2]

    @property
    def idle(self) -> tuple[Defense, ...]:
        """The defenses that did not change the update. Raises the errors of `Client.train`."""
        return self._protected[1]

    def show(self, knowledge: Granted, *, public: Batch | Tensor | None = None) -> Observation:
        """Return what `knowledge` grants, in tensors of its own; arguments and errors as for `Client.share`."""
        return self.client.observed(self._protected[0], self.batch, granted(knowledge), public)

    def belongs_to(self, client: Client, batch: Batch, seed: int) -> bool:
        """Return whether this is the update of exactly this client, batch and seed."""
        return self.client is client and self.batch is batch and self.seed == seed


def own_seed(use: str, seed: int, batch: Batch) -> int:
    """Return a seed of the client for one use. It depends on the batch, so that no adversary can derive it."""
    return child_seed(seed, f"the client's {use}", batch.inputs, batch.labels)


def _oracle(batch: Batch, knowledge: Knowledge) -> bool:
    return Knowledge.IMAGE_STATISTICS in knowledge and batch.modality is Modality.PICTURES


def _sent(client: Client, update: Update, batch: Batch, knowledge: Knowledge) -> tuple[nn.Module, Update]:
    """Return a copy of the model, and the update without the token embedding's gradient if that is not granted.

    The text attacks are stated for a client that freezes its embedding or does not share its gradient, which is the
    weaker threat: that gradient alone reveals which words the batch contains.
    """
    model = private_copy(client.model)
    model.zero_grad()  # a gradient stored in the model would be sent undefended
    if batch.modality is not Modality.TEXT or Knowledge.EMBEDDING_GRADIENT in knowledge:
        return model, update
    kept_back = set(model.get_submodule("token_embedding").parameters())
    names = {name for name, parameter in model.named_parameters() if parameter in kept_back}
    tensors = {name: tensor for name, tensor in update.tensors.items() if name not in names}
    if not tensors:
        raise AuditError(f"{client.model_name}: has no trainable parameter besides its token embedding.")
    return model, replace(update, tensors=tensors)


def _statistics(client: Client, batch: Batch) -> Mapping[str, tuple[Tensor, Tensor]]:
    found: dict[str, tuple[Tensor, Tensor]] = {}
    model = private_copy(client.model)
    for name, layer in model.named_modules():
        if isinstance(layer, _BatchNorm):
            layer.register_forward_pre_hook(
                lambda _, args, name=name: found.__setitem__(name, _mean_and_variance(args[0]))
            )
    with torch.no_grad(), batch_norm_mode(model, client.training.batch_norm):
        model(client._inputs(batch))
    return found


def _check(client: Client, model: nn.Module, batch: Batch) -> None:
    check_inputs(batch, model, client.model_name)
    with (
        torch.no_grad(),
        batch_norm_mode(model, "eval"),
        guarded(f"{client.model_name}: cannot take inputs {_shape(batch.inputs)}"),
    ):
        output, again = (model(client._inputs(batch)) for _ in range(2))
    rules = rules_of(client.training.loss)
    rules.require_output(output, len(batch), client.model_name)
    if not all(map(_alike, tensors_of(output), tensors_of(again))):
        raise AuditError(
            f"{client.model_name}: two passes over the same batch in evaluation mode give different logits, so that "
            "its update cannot be reproduced. Does it call F.dropout without training=self.training?"
        )
    rules.require_labels(output, batch.labels, client.model_name)


def _alike(logits: Tensor, again: Tensor) -> bool:
    """Return whether the logits are equal up to rounding: some kernels sum in another order on each call."""
    return logits.shape == again.shape and torch.allclose(
        logits, again, rtol=SAME, atol=SAME * float(logits.abs().nan_to_num().max()), equal_nan=True
    )


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies that an attack may write into without changing what the next attack sees."""
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)


def _mean_and_variance(features: Tensor) -> tuple[Tensor, Tensor]:
    flat = features.transpose(0, 1).flatten(1)
    return flat.mean(1), flat.var(1, unbiased=False)


def _cuda(update: Update) -> list[torch.device]:
    return [device for device in {t.device for t in update.values} if device.type == "cuda"]


def _check_finite(update: Update) -> Update:
    """Return the update. Raise `AuditError` if it holds NaN or infinity."""
    broken = [name for name, tensor in update.tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise AuditError(
            f"update: {len(broken)} of {len(update.tensors)} tensors hold NaN or infinity, first {broken[0]}. "
            "Check the model's weights, the learning rate and the normalisation."
        )
    return update
