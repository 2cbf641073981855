"""What a hook inside a federation does with the model that arrives: it checks it before the client trains on it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..values.errors import AuditError, guarded, printable

if TYPE_CHECKING:
    from torch import Tensor

    from ..client.model_check import ModelCheck
    from ..values.types import LossFunction, Normalisation

LOG = logging.getLogger("gradaudit.capture")
REFUSED = "gradaudit: the client does not train on this model."
BatchOf = Callable[[Any], tuple[Any, Any]]
"""Function of the framework's context of a client, to inputs and labels of some of its examples."""


class ModelRefused(AuditError):  # noqa: N818  (the fact is the name)
    """A client does not train, because the model that it received raises an alarm or cannot be checked."""


@dataclass(frozen=True)
class ModelGuard:
    """Checks every received model, and refuses to train on one with an alarm.

    Args:
        model: Function without arguments to the client's own model, whose weights do not matter.
        batch: Function of the framework's context to inputs and labels of some private examples, or `None`, without
            which the detectors that need a batch cannot judge.
        refuse: Whether an alarm, and a model that cannot be read, stop the training; otherwise they are lines in the
            log.
        loss: The client's training loss; cross-entropy by default.
        normalisation: What the client applies to these inputs before the model.
        report: Function that receives every result, such as one that writes it into a file.
    """

    model: Callable[[], Any]
    batch: BatchOf | None = None
    refuse: bool = True
    loss: LossFunction | None = None
    normalisation: Normalisation | None = None
    report: Callable[[ModelCheck], Any] | None = None

    def __post_init__(self) -> None:
        if not callable(self.model) or hasattr(self.model, "state_dict"):
            raise AuditError("model: should be a function that builds your model, such as the class of your network.")

    def check(self, arrays: Mapping[str, Any], context: Any, before: Mapping[str, Any] | None = None) -> bool:
        """Return whether the model raises no alarm.

        Args:
            arrays: Name -> array of the received model.
            context: What `batch` is called with.
            before: Name -> array of the model of the round before, if known.

        Raises:
            ModelRefused: The model raises an alarm, or it cannot be read, and `refuse` is true.
        """
        try:
            found = self.found(arrays, context, before)
        except AuditError as error:
            LOG.warning("%s", printable(f"gradaudit: the received model cannot be checked: {error}"))
            return self._stopped(error)
        for line in found.lines if found.alarms else found.lines[:1]:
            LOG.log(logging.WARNING if found.alarms else logging.INFO, "%s", printable(f"gradaudit: {line}"))
        if not found.alarms:
            return True
        return self._stopped(None)

    def found(self, arrays: Mapping[str, Any], context: Any, before: Mapping[str, Any] | None = None) -> ModelCheck:
        """Return what the detectors find. Raises `AuditError` if the model, the batch or the weights cannot be read."""
        from ..client.model_check import check_model
        from ..client.received import received

        if not arrays:
            raise AuditError("the message holds no arrays, so there is no model to check.")
        with guarded("model: its function failed"):
            own = self.model()
        inputs, labels = self._batch(context)
        found = check_model(
            received(
                own,
                arrays,
                before=before or None,
                inputs=inputs,
                labels=labels,
                loss=self.loss,
                normalisation=self.normalisation,
            )
        )
        if self.report is not None:
            with guarded("report: the function failed"):
                self.report(found)
        return found

    def _batch(self, context: Any) -> tuple[Tensor | None, Tensor | None]:
        if self.batch is None:
            return None, None
        import torch

        with guarded("batch: the function failed"):
            inputs, labels = self.batch(context)
            return torch.as_tensor(inputs), torch.as_tensor(labels)

    def _stopped(self, cause: AuditError | None) -> bool:
        """Raise `ModelRefused`, or return false. The server receives the message, and so it names no reason."""
        if self.refuse:
            raise ModelRefused(REFUSED) from cause
        return False
