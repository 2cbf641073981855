"""The federated-learning client under audit: it trains on a private batch, defends its update, and shares it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import Tensor, nn

from ..models.copying import private_copy
from ..protocol.defenses import Defense, Scene, describe
from ..protocol.defenses._acting import changed_batch, changed_training
from ..protocol.local_training import LocalTraining
from ..protocol.observation import Observation
from ..values.chance import child_seed
from ..values.errors import AuditError, guarded
from ..values.full_precision import full_precision
from ..values.granting import Granted, granted
from ..values.image_statistics import image_statistics
from ..values.types import Batch, Knowledge, Modality, Normalisation, Update
from .calibrated_noise import acts_early
from .checking import require_finite, require_trainable
from .defending import (
    Memories,
    changed_model,
    defended,
    same,
    without_effect,
)
from .defense_effect import EffectLog, Note, unnoted
from .granted import batch_statistics, public_examples, sent, text_lengths


@dataclass(frozen=True, eq=False)
class Client:
    """A federated-learning client: a model, its local training and the defenses on its update.

    Args:
        model: The model that the server sent. It is never changed and never sees a private example: a copy trains.
        training: The local training.
        defenses: The defenses, each applied where it changes something, in this order (`Defense`).
        normalisation: Applied to images in [0, 1] before the model; text and rows are not normalised.
        model_name: Name of the model in reports; the name of its class by default.
        rounds: Number of updates of the same batch and model that the client shares, each with random numbers of its
            own; at least 1.

    Raises:
        AuditError: A defense does not fit the model, or there are no rounds.

    >>> client = ga.Client(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 5)))
    >>> client.share(ga.Batch(torch.rand(1, 1, 4, 4), torch.tensor([3])), ["priors", "LABELS"]).labels
    tensor([3])
    """

    model: nn.Module = field(repr=False)
    training: LocalTraining = field(default_factory=LocalTraining)
    defenses: tuple[Defense, ...] = ()
    normalisation: Normalisation = Normalisation()
    model_name: str = ""
    rounds: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "defenses", tuple(self.defenses))
        object.__setattr__(self, "model_name", self.model_name or type(self.model).__name__)
        object.__setattr__(self, "model", changed_model(self.defenses, self.model))
        if self.rounds < 1:
            raise AuditError(f"rounds: must be at least 1. Found {self.rounds}.")

    @property
    def described(self) -> str:
        """Its name in reports: its defenses, and its rounds if there are several."""
        several = (f"{self.rounds} rounds",) if self.rounds > 1 else ()
        return ", ".join((*(map(describe, self.defenses) if self.defenses else ("no defense",)), *several))

    def train(self, batch: Batch, *, seed: int = 0) -> Update:
        """Return the update before the defenses that change it, with the model's buffers after local training.

        Args:
            batch: The private examples, on the model's device.
            seed: Seed of shuffling, dropout and the defenses of batch and training; the global random state is not
                changed.

        Raises:
            AuditError: The batch does not fit the model, two forward passes over the same batch give different
                logits, or the update contains NaN or infinity.
        """
        return _trained(self, batch, seed, self.defenses)[0]

    def protected(
        self, batch: Batch, *, seed: int = 0, memories: Memories | None = None, note: Note = unnoted
    ) -> tuple[Update, tuple[Defense, ...]]:
        """Return the defended update, and the defenses that did not change it.

        Args:
            batch: The private examples.
            seed: Seed as for `train`.
            memories: What the defenses remember of earlier rounds; it is written into.
            note: Called after each defense of the update with its position, itself, and the update before and after it.
        """
        trained, update, idle = _defended(self, batch, seed, memories, note)
        return update, (*_idle_before(self, batch, seed, trained), *idle)

    def contribute(self, batch: Batch, *, seed: int = 0, memories: Memories | None = None) -> Update:
        """Return the defended update alone, as in one round of a federation; arguments as for `protected`."""
        return _defended(self, batch, seed, memories, unnoted)[1]

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
        model, update = sent(self.model, update, batch, knowledge, self.model_name)
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
            batch_statistics=batch_statistics(self.model, self.training.batch_norm, self._inputs(batch))
            if Knowledge.BATCH_STATISTICS in knowledge
            else None,
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
    def _first(self) -> tuple[Update, tuple[Defense, ...], EffectLog, Memories]:
        log = EffectLog()
        memories: Memories = {}
        update, idle = self.client.protected(self.batch, seed=self.seed, memories=memories, note=log.note)
        log.close()
        return update, idle, log, memories

    @cached_property
    def _others(self) -> tuple[Update, ...]:
        """The updates of the rounds after the first."""
        memories = self._first[3]
        seeds = (child_seed(self.seed, f"round {number}") for number in range(1, self.client.rounds))
        return tuple(self.client.contribute(self.batch, seed=seed, memories=memories) for seed in seeds)

    @property
    def log(self) -> EffectLog:
        """What each defense did to the first update. Raises the errors of `Client.train`."""
        return self._first[2]

    @property
    def idle(self) -> tuple[Defense, ...]:
        """The defenses that did not change the update. Raises the errors of `Client.train`."""
        return self._first[1]

    def show(self, knowledge: Granted, *, public: Batch | Tensor | None = None) -> Observation:
        """Return what `knowledge` grants, in tensors of its own; arguments and errors as for `Client.share`."""
        seen = self.client.observed(self._first[0], self.batch, granted(knowledge), public)
        names = seen.update.tensors
        others = (tuple(update.tensors[name].clone() for name in names) for update in self._others)
        return replace(seen, rounds=tuple(others))

    def belongs_to(self, client: Client, batch: Batch, seed: int) -> bool:
        """Return whether this is the update of exactly this client, batch and seed."""
        return self.client is client and self.batch is batch and self.seed == seed


def own_seed(use: str, seed: int, batch: Batch) -> int:
    """Return a seed of the client for one use. It depends on the batch, so that no adversary can derive it."""
    return child_seed(seed, f"the client's {use}", batch.inputs, batch.labels)


@full_precision()
def _trained(client: Client, batch: Batch, seed: int, defenses: Sequence[Defense]) -> tuple[Update, Scene]:
    """Return the update of local training under `defenses`, and what a defense of the update may look at."""
    model, training = private_copy(client.model), client.training
    classes = require_trainable(model, batch, client._inputs, training.loss, client.model_name)
    drawn = own_seed("batch", seed, batch)
    inputs, labels = changed_batch(defenses, client._inputs(batch), batch.labels.clone(), classes, drawn)
    with guarded(f"{client.model_name}: cannot train on a batch of shape {list(batch.inputs.shape)}"):
        tensors, buffers = training.train(
            model,
            inputs,
            labels,
            seed=own_seed("training", seed, batch),
            **changed_training(defenses),
        )
    names = training.shared_parameters(client.model)
    update = Update(dict(zip(names, tensors, strict=True)), training.kind, buffers, len(batch))
    require_finite(update, filter(acts_early, defenses))
    return update, Scene(model, inputs, labels, training.loss, training.steps(len(batch)))


def _defended(
    client: Client, batch: Batch, seed: int, memories: Memories | None, note: Note
) -> tuple[Update, Update, tuple[Defense, ...]]:
    """Return the update before and after the defenses of the update, and those of them that did not change it."""
    trained, scene = _trained(client, batch, seed, client.defenses)
    update, idle = defended(client.defenses, trained, scene, own_seed("defenses", seed, batch), memories, note)
    require_finite(update, client.defenses)
    return trained, update, idle


def _idle_before(client: Client, batch: Batch, seed: int, trained: Update) -> tuple[Defense, ...]:
    """Return the defenses of the batch or the training without which the trained update would be the same."""
    acting = {place: one for place, one in enumerate(client.defenses) if acts_early(one)}
    others = {place: (*client.defenses[:place], *client.defenses[place + 1 :]) for place in acting}
    idle = [acting[at] for at, rest in others.items() if same(_trained(client, batch, seed, rest)[0], trained)]
    return without_effect(tuple(acting.values()), idle)


def _oracle(batch: Batch, knowledge: Knowledge) -> bool:
    return Knowledge.IMAGE_STATISTICS in knowledge and batch.modality is Modality.PICTURES


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies that an attack may write into without changing what the next attack sees."""
    return {name: tensor.clone() for name, tensor in tensors.items()}
