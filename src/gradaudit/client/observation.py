"""Everything that an adversary sees of one client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from ..models.copying import private_copy
from ..values.columns import TableLayout
from ..values.image_statistics import ImageStatistics
from ..values.types import Knowledge, LossFunction, Modality, Normalisation, TextLayout, Update
from .defenses import Defense
from .local_training import LocalTraining, require_inferable

HALVES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class Observation:
    """Everything that the adversary sees. A fact outside its knowledge is `None`, so that no attack can read it.

    Args:
        model: The model before local training, as the server sent it: a copy that the attack may not change.
        update: What the client shared, after its defenses.
        input_shape: `(C, H, W)` of one picture, `(L,)` of a text or `(D,)` of an encoded row.
        normalisation: What the client does to a picture before its model sees it; the identity for text and rows.
        loss: The training loss.
        batch_norm: `"eval"` (public running statistics) or `"train"` (statistics of the client's own batch).
        knowledge: What was granted.
        batch_size: Number of examples, or `None`.
        clients: Examples of each client, where the update is the weighted sum of several clients' and the batch size is
            granted, else `None`.
        labels: `[B]`, or `None`.
        training: The client's local training, or `None` (then the adversary assumes one FedSGD step).
        defenses: The client's defenses, or `None`.
        batch_statistics: Name of a BatchNorm layer -> (mean, biased variance) of what enters it at the first local
            step, or `None`.
        public_data: Examples like the client's, not the client's, or `None`: `[N, C, H, W]` pictures in [0, 1],
            `[N, L']` padded token ids or `[N, D]` encoded rows.
        public_labels: `[N]` integers, their classes, or `None` where they come without.
        modality: What an example is.
        lengths: Of texts: `[B]` tokens before padding, granted with the batch size, or `None`.
        text: Of texts: what is public about the tokenizer, where it is known.
        table: Of rows: the table's columns, where they are known; public.
        image_statistics: Of pictures: their true channel means and edge maps, or `None`; an oracle.

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

    @cached_property
    def classes(self) -> int:
        """K, the width of the model's output; raises `AttackFailed` under a loss without a logit for each class."""
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
        """The client's training where it is known, else one FedSGD step; what is shared is seen by everybody."""
        training = self.training or LocalTraining(self.loss, batch_norm=self.batch_norm)  # type: ignore[arg-type]
        return replace(training, shared=tuple(self.update.tensors))

    def in_full_precision(self) -> Observation:
        """The same, with model and update in single precision where they are in half: an adversary need not compute so.

        Whatever its precision, the model of what is returned shares nothing with this one's.
        """
        model = private_copy(self.model)
        if not any(tensor.dtype in HALVES for tensor in (*model.parameters(), *model.buffers(), *self.update.values)):
            return replace(self, model=model)
        tensors = {name: tensor.float() for name, tensor in self.update.tensors.items()}
        return replace(self, model=model.float(), update=replace(self.update, tensors=tensors))

    @property
    def device(self) -> torch.device:
        """Where the update lies, or the model where the update holds nothing."""
        tensors = self.update.values or tuple(self.model.parameters())
        return tensors[0].device if tensors else torch.device("cpu")
