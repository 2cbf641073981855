"""The adversary's view of one client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from ..models.copying import private_copy
from ..values.columns import TableLayout
from ..values.image_statistics import ImageStatistics
from ..values.types import Knowledge, LossFunction, Modality, Normalisation, Tensors, TextLayout, Update
from .defenses import Defense
from .local_training import LocalTraining, require_inferable

HALVES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class Observation:
    """Everything that the adversary sees of one update; a fact that was not granted is `None`.

    Args:
        model: A copy of the model that the server sent, before local training; an attack must not change it.
        update: What the client shared, after its defenses.
        input_shape: Shape of one example: `(C, H, W)` of an image, `(L,)` of a text or `(D,)` of an encoded row.
        normalisation: The normalisation that the client applies to an image; the identity for text and rows.
        loss: The client's training loss.
        batch_norm: `"eval"` (public running statistics) or `"train"` (statistics of the client's own batch).
        knowledge: The facts that were granted.
        batch_size: Number of examples, or `None`.
        clients: Number of examples of each client if the update is a weighted sum over several clients and the batch
            size is granted, otherwise `None`.
        labels: `[B]`, or `None`.
        training: The client's local training, or `None`, in which case the adversary assumes one FedSGD step.
        defenses: The client's defenses, or `None`.
        batch_statistics: Name of a BatchNorm layer -> (mean, biased variance) of its inputs at the first local step,
            or `None`.
        public_data: Public examples of the same kind as the client's, or `None`: `[N, C, H, W]` images in [0, 1],
            `[N, L']` padded token ids or `[N, D]` encoded rows.
        public_labels: `[N]` integers, the classes of the public examples, or `None` if these have no labels.
        modality: Whether an example is an image, a text or a row.
        lengths: For text, the number of tokens before padding, `[B]`, granted with the batch size; otherwise `None`.
        text: For text, the public facts about the tokenizer, if they are known.
        table: For rows, the columns of the table, which are public, if they are known.
        image_statistics: For images, their true channel means and edge maps, or `None`. An oracle: no real adversary
            knows them.
        rounds: Further updates that the client shared of the same batch and model, in the order of `update`.

    >>> client = ga.Client(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 5)))
    >>> seen = client.share(ga.Batch(torch.rand(1, 1, 4, 4), torch.tensor([3])), "priors")
    >>> seen.batch_size, seen.classes, seen.labels, list(seen.update.tensors)
    (1, 5, None, ['1.weight', '1.bias'])
    """

    model: nn.Module
    update: Update
    input_shape: tuple[int, ...]
    normalisation: Normalisation
    loss: LossFunction
    batch_norm: str = "eval"
    knowledge: Knowledge = Knowledge.NOTHING
    batch_size: int | None = None
    labels: Tensor | None = None
    training: LocalTraining | None = None
    defenses: tuple[Defense, ...] | None = None
    batch_statistics: Mapping[str, tuple[Tensor, Tensor]] | None = None
    public_data: Tensor | None = None
    public_labels: Tensor | None = None
    clients: tuple[int, ...] | None = None
    modality: Modality = Modality.PICTURES
    lengths: Tensor | None = None
    text: TextLayout | None = None
    table: TableLayout | None = None
    image_statistics: ImageStatistics | None = None
    rounds: tuple[Tensors, ...] = ()

    @cached_property
    def classes(self) -> int:
        """K, the number of logits of the model. Raises `AttackFailed` if the loss has no logit for each class."""
        require_inferable(self.loss)
        of_model = next((p.dtype for p in self.model.parameters()), torch.float32)
        kind = torch.int64 if self.modality is Modality.TEXT else of_model
        probe = torch.zeros(1, *self.input_shape, dtype=kind, device=self.device)
        modes = [(module, module.training) for module in self.model.modules()]
        try:
            with torch.no_grad():
                return int(self.model.eval()(probe).shape[1])
        finally:
            for module, mode in modes:
                module.training = mode

    @property
    def assumed_training(self) -> LocalTraining:
        """The client's local training if it is granted, otherwise one FedSGD step; the shared tensors are public."""
        training = self.training or LocalTraining(self.loss, batch_norm=self.batch_norm)  # type: ignore[arg-type]
        return replace(training, shared=tuple(self.update.tensors))

    def in_full_precision(self) -> Observation:
        """Return the observation with model and update in single precision where they are in half precision.

        An adversary need not compute in the precision of the client. The model of the returned observation is always
        a copy that shares no tensor with this one's.
        """
        model = private_copy(self.model)
        if not any(tensor.dtype in HALVES for tensor in (*model.parameters(), *model.buffers(), *self.update.values)):
            return replace(self, model=model)
        tensors = {name: tensor.float() for name, tensor in self.update.tensors.items()}
        return replace(self, model=model.float(), update=replace(self.update, tensors=tensors))

    @property
    def device(self) -> torch.device:
        """The device of the update, or of the model if the update is empty."""
        tensors = self.update.values or tuple(self.model.parameters())
        return tensors[0].device if tensors else torch.device("cpu")
