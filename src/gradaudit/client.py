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
from .local_training import LocalTraining, batch_norm_mode
from .observation import Observation
from .types import Batch, Knowledge, Normalisation, Update


@dataclass(frozen=True, eq=False)
class Client:
    """One participant of a federation.

    Args:
        model: The model as the server sent it. Never changed.
        training: What the client does locally.
        defenses: Applied to the update, in this order.
        normalisation: Applied to pictures in [0, 1] before the model sees them.
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

    def train(self, batch: Batch) -> Update:
        """The update before any defense, with the buffers that local training leaves behind.

        Raises:
            AuditError: The batch does not fit the model, or the update holds NaN or infinity.
        """
        self._check(batch)
        inputs = self.normalisation.apply(batch.inputs)
        try:
            tensors, buffers = self.training.train(self.model, inputs, batch.labels)
        except (ValueError, RuntimeError, IndexError) as error:
            raise AuditError(
                f"{self.model_name}: cannot train on a batch of shape {_shape(inputs)}: {error}"
            ) from error
        names = [name for name, parameter in self.model.named_parameters() if parameter.requires_grad]
        update = Update(dict(zip(names, tensors, strict=True)), self.training.kind, buffers, len(batch))
        _check_finite(update)
        return update

    def share(
        self, batch: Batch, knowledge: Knowledge, *, seed: int = 0, public: Batch | Tensor | None = None
    ) -> Observation:
        """Train, defend, and show the adversary what `knowledge` grants.

        Args:
            batch: The private examples, on the model's device.
            knowledge: The threat model.
            seed: Of the defenses' noise; the global random state is left alone.
            public: Pictures like the client's that anyone may hold, `[N, C, H, W]` in [0, 1], or with their labels as
                a `Batch`; the adversary sees them where `knowledge` holds PUBLIC_DATA.

        Raises:
            AuditError: As `train`, or the public pictures are unlike the private ones in shape or range.
        """
        update = self.defend(self.train(batch), seed=seed)[0]
        kept = replace(update, buffers=None, examples=len(batch) if Knowledge.BATCH_SIZE in knowledge else None)
        one_step = self.training.learning_rate is None
        pictures, classes = _public(public, batch) if Knowledge.PUBLIC_DATA in knowledge else (None, None)
        return Observation(
            model=deepcopy(self.model),
            update=kept,
            input_shape=tuple(batch.inputs.shape[1:]),
            normalisation=self.normalisation,
            loss=self.training.loss,
            batch_norm=self.training.batch_norm,
            knowledge=knowledge,
            batch_size=len(batch) if Knowledge.BATCH_SIZE in knowledge else None,
            labels=batch.labels.clone() if Knowledge.LABELS in knowledge else None,
            training=self.training if one_step or Knowledge.LOCAL_TRAINING in knowledge else None,
            defenses=self.defenses if Knowledge.DEFENSE in knowledge else None,
            batch_statistics=self._statistics(batch) if Knowledge.BATCH_STATISTICS in knowledge else None,
            public_data=pictures,
            public_labels=classes,
        )

    def defend(self, update: Update, *, seed: int = 0) -> tuple[Update, tuple[Defense, ...]]:
        """The update after all defenses, and those of them that did not change it."""
        idle: list[Defense] = []
        with torch.random.fork_rng(devices=_cuda(update)):
            torch.manual_seed(seed)
            for defense in self.defenses:
                before, update = update, defense(update)
                if all(map(torch.equal, before.values, update.values)):
                    idle.append(defense)
        _check_finite(update)
        return update, tuple(idle)

    def _statistics(self, batch: Batch) -> Mapping[str, tuple[Tensor, Tensor]]:
        found: dict[str, tuple[Tensor, Tensor]] = {}
        model = deepcopy(self.model)
        for name, layer in model.named_modules():
            if isinstance(layer, _BatchNorm):
                layer.register_forward_pre_hook(
                    lambda _, args, name=name: found.__setitem__(name, _mean_and_variance(args[0]))
                )
        with torch.no_grad(), batch_norm_mode(model, self.training.batch_norm):
            model(self.normalisation.apply(batch.inputs))
        return found

    def _check(self, batch: Batch) -> None:
        if batch.inputs.ndim != 4 or len(batch.inputs) != len(batch.labels) or not len(batch):
            found = f"{_shape(batch.inputs)} and {_shape(batch.labels)}"
            raise AuditError(f"batch: needs pictures [B, C, H, W] and labels [B]. Found {found}.")
        if not torch.isfinite(batch.inputs).all() or batch.inputs.min() < 0 or batch.inputs.max() > 1:
            raise AuditError("batch: pictures must be finite and in [0, 1]. Divide 8-bit pixels by 255.")
        with torch.no_grad(), batch_norm_mode(self.model, "eval"):
            try:
                output = self.model(self.normalisation.apply(batch.inputs))
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                cause = str(error).splitlines()[0]
                raise AuditError(f"{self.model_name}: cannot take inputs {_shape(batch.inputs)}: {cause}") from error
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(batch):
            found = _shape(output) if isinstance(output, Tensor) else type(output).__name__
            raise AuditError(f"{self.model_name}: must return logits [{len(batch)}, classes]. Found {found}.")
        if batch.labels.min() < 0 or batch.labels.max() >= output.shape[1]:
            wrong = batch.labels.max() if batch.labels.min() >= 0 else batch.labels.min()
            raise AuditError(
                f"labels: must be in 0...{output.shape[1] - 1}, the classes of {self.model_name}. Found {int(wrong)}; "
                "raise num_classes or mend the labels."
            )


def _public(public: Batch | Tensor | None, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
    if public is None:
        return None, None
    pictures, labels = (public.inputs, public.labels) if isinstance(public, Batch) else (public, None)
    like = batch.inputs
    if pictures.ndim != 4 or not len(pictures) or pictures.shape[1:] != like.shape[1:]:
        raise AuditError(
            f"public_data: needs pictures [N, {', '.join(map(str, like.shape[1:]))}]. Found {_shape(pictures)}."
        )
    if not torch.isfinite(pictures).all() or pictures.min() < 0 or pictures.max() > 1:
        raise AuditError("public_data: pictures must be finite and in [0, 1]. Divide 8-bit pixels by 255.")
    return pictures.to(like), None if labels is None else labels.to(batch.labels)


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
