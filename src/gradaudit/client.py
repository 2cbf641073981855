"""The victim: trains on a private batch, defends its update, and shares it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .defenses import Defense
from .errors import AuditError
from .image_statistics import image_statistics
from .local_training import LocalTraining, batch_norm_mode, client_seed
from .modalities import check_inputs, check_public
from .observation import Observation
from .types import Batch, Knowledge, Modality, Normalisation, Update


@dataclass(frozen=True, eq=False)
class Client:
    """One participant of a federation.

    Args:
        model: The model as the server sent it. Never changed.
        training: What the client does locally.
        defenses: Applied to the update, in this order.
        normalisation: Applied to pictures in [0, 1] before the model sees them, to nothing else.
        model_name: What to call the model in a report; its class by default.
    """

    model: nn.Module = field(repr=False)
    training: LocalTraining = field(default_factory=LocalTraining)
    defenses: tuple[Defense, ...] = ()
    normalisation: Normalisation = Normalisation()
    model_name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "defenses", tuple(self.defenses))
        object.__setattr__(self, "model_name", self.model_name or type(self.model).__name__)

    def train(self, batch: Batch, *, seed: int = 0) -> Update:
        """The update before any defense, with the buffers that local training leaves behind.

        Args:
            batch: The private examples, on the model's device.
            seed: Of shuffling and dropout; the global random state is left alone.

        Raises:
            AuditError: The batch does not fit the model, or the update holds NaN or infinity.
        """
        _check(self, batch)
        inputs = self._inputs(batch)
        try:
            tensors, buffers = self.training.train(self.model, inputs, batch.labels, seed=client_seed(seed, 0))
        except (ValueError, RuntimeError, IndexError) as error:
            raise AuditError(
                f"{self.model_name}: cannot train on a batch of shape {_shape(inputs)}: {error}"
            ) from error
        names = self.training.shared_parameters(self.model)
        update = Update(dict(zip(names, tensors, strict=True)), self.training.kind, buffers, len(batch))
        _check_finite(update)
        return update

    def protected(self, batch: Batch, *, seed: int = 0) -> tuple[Update, tuple[Defense, ...]]:
        """The update that leaves, and those of the defenses that did not change it; arguments as of `train`."""
        return self.defend(self.train(batch, seed=seed), seed=seed)

    def share(
        self, batch: Batch, knowledge: Knowledge, *, seed: int = 0, public: Batch | Tensor | None = None
    ) -> Observation:
        """Train, defend, and show the adversary what `knowledge` grants.

        Args:
            batch: The private examples, on the model's device.
            knowledge: The threat model.
            seed: Of shuffling, dropout and the defenses' noise; the global random state is left alone.
            public: Examples like the client's that anyone may hold, such as pictures `[N, C, H, W]` in [0, 1], or with
                their labels as a `Batch`; the adversary sees them where `knowledge` holds PUBLIC_DATA.

        Raises:
            AuditError: As `train`, or the public examples are unlike the private ones in shape or range.
        """
        update = self.protected(batch, seed=seed)[0]
        model, update = _sent(self, update, batch, knowledge)
        buffers = update.buffers if self.training.share_buffers else None
        kept = replace(update, buffers=buffers, examples=len(batch) if Knowledge.BATCH_SIZE in knowledge else None)
        one_step = self.training.learning_rate is None
        pictures, classes = _public(public, batch) if Knowledge.PUBLIC_DATA in knowledge else (None, None)
        return Observation(
            model=model,
            update=kept,
            input_shape=tuple(batch.inputs.shape[1:]),
            normalisation=self.normalisation if batch.modality is Modality.PICTURES else Normalisation(),
            loss=self.training.loss,
            batch_norm=self.training.batch_norm,
            knowledge=knowledge,
            batch_size=len(batch) if Knowledge.BATCH_SIZE in knowledge else None,
            labels=batch.labels.clone() if Knowledge.LABELS in knowledge else None,
            training=self.training if one_step or Knowledge.LOCAL_TRAINING in knowledge else None,
            defenses=self.defenses if Knowledge.DEFENSE in knowledge else None,
            batch_statistics=_statistics(self, batch) if Knowledge.BATCH_STATISTICS in knowledge else None,
            public_data=pictures,
            public_labels=classes,
            modality=batch.modality,
            lengths=_lengths(batch) if Knowledge.BATCH_SIZE in knowledge else None,
            text=batch.text,
            table=batch.table,
            image_statistics=image_statistics(batch.inputs) if _oracle(batch, knowledge) else None,
        )

    def _inputs(self, batch: Batch) -> Tensor:
        """What the model takes: pictures normalised, everything else as it is."""
        return self.normalisation.apply(batch.inputs) if batch.modality is Modality.PICTURES else batch.inputs

    def defend(self, update: Update, *, seed: int = 0) -> tuple[Update, tuple[Defense, ...]]:
        """The update after all defenses, and those of them that did not change it."""
        idle: list[Defense] = []
        with torch.random.fork_rng(devices=_cuda(update)):
            torch.manual_seed(client_seed(seed, -1))  # an attack that runs with the same seed draws other numbers
            for defense in self.defenses:
                before, update = update, defense(update)
                if all(map(torch.equal, before.values, update.values)):
                    idle.append(defense)
        _check_finite(update)
        return update, tuple(idle)


def _oracle(batch: Batch, knowledge: Knowledge) -> bool:
    return Knowledge.IMAGE_STATISTICS in knowledge and batch.modality is Modality.PICTURES


def _sent(client: Client, update: Update, batch: Batch, knowledge: Knowledge) -> tuple[nn.Module, Update]:
    """A copy of the model and the update; without the token embedding's gradient where it is not granted.

    A client that keeps its embedding fixed, or keeps its gradient to itself, is the weaker threat that the text
    attacks are stated for: that gradient alone tells which words the batch holds.
    """
    model = deepcopy(client.model)
    model.zero_grad()  # a gradient left in it would travel undefended
    if batch.modality is not Modality.TEXT or Knowledge.EMBEDDING_GRADIENT in knowledge:
        return model, update
    kept_back = set(model.token_embedding.parameters())
    names = {name for name, parameter in model.named_parameters() if parameter in kept_back}
    tensors = {name: tensor for name, tensor in update.tensors.items() if name not in names}
    if not tensors:
        raise AuditError(f"{client.model_name}: has no trainable parameter besides its token embedding.")
    return model, replace(update, tensors=tensors)


def _statistics(client: Client, batch: Batch) -> Mapping[str, tuple[Tensor, Tensor]]:
    found: dict[str, tuple[Tensor, Tensor]] = {}
    model = deepcopy(client.model)
    for name, layer in model.named_modules():
        if isinstance(layer, _BatchNorm):
            layer.register_forward_pre_hook(
                lambda _, args, name=name: found.__setitem__(name, _mean_and_variance(args[0]))
            )
    with torch.no_grad(), batch_norm_mode(model, client.training.batch_norm):
        model(client._inputs(batch))
    return found


def _check(client: Client, batch: Batch) -> None:
    check_inputs(batch, client.model, client.model_name)
    with torch.no_grad(), batch_norm_mode(client.model, "eval"):
        try:
            output = client.model(client._inputs(batch))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            cause = str(error).splitlines()[0]
            raise AuditError(f"{client.model_name}: cannot take inputs {_shape(batch.inputs)}: {cause}") from error
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(batch):
        found = _shape(output) if isinstance(output, Tensor) else type(output).__name__
        raise AuditError(f"{client.model_name}: must return logits [{len(batch)}, classes]. Found {found}.")
    if batch.labels.min() < 0 or batch.labels.max() >= output.shape[1]:
        wrong = batch.labels.max() if batch.labels.min() >= 0 else batch.labels.min()
        raise AuditError(
            f"labels: must be in 0...{output.shape[1] - 1}, the classes of {client.model_name}. Found {int(wrong)}; "
            "raise num_classes or mend the labels."
        )


def _public(public: Batch | Tensor | None, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
    if public is None:
        return None, None
    inputs, labels = (public.inputs, public.labels) if isinstance(public, Batch) else (public, None)
    check_public(inputs, batch)
    return inputs.to(batch.inputs), None if labels is None else labels.to(batch.labels)


def _lengths(batch: Batch) -> Tensor | None:
    if batch.modality is not Modality.TEXT:
        return None
    return batch.labels.new_full((len(batch),), batch.inputs.shape[1]) if batch.lengths is None else batch.lengths


def _shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)


def _mean_and_variance(features: Tensor) -> tuple[Tensor, Tensor]:
    flat = features.transpose(0, 1).flatten(1)
    return flat.mean(1), flat.var(1, unbiased=False)


def _cuda(update: Update) -> list[torch.device]:
    return [device for device in {t.device for t in update.values} if device.type == "cuda"]


def _check_finite(update: Update) -> None:
    broken = [name for name, tensor in update.tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise AuditError(
            f"update: {len(broken)} of {len(update.tensors)} tensors hold NaN or infinity, first {broken[0]}. "
            "Check the model's weights, the learning rate and the normalisation."
        )
