"""Flower: a client mod that sees exactly what leaves a client, and a strategy that sees what the server receives.

The mod and the strategy look at the message API of Flower (`flwr >= 1.42`) and import nothing of it, so that a client
without this extra still starts. What both write is described in `writing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .flower_messages import arrays_of, examples_of, joined, named, numbers, round_of
from .model_guard import BatchOf, ModelGuard, ModelRefused
from .recorder import AuditAction, CaptureRecorder, harmless

if TYPE_CHECKING:
    from ..client.model_check import ModelCheck
    from ..values.types import LossFunction, Normalisation

TRAIN = "train"
FAILED_PRECONDITION = 6  # Flower's code of an error in a mod
LAST = "gradaudit-before-"  # key of the last model in a client's state


@dataclass(frozen=True)
class FlowerCapture:
    """A client mod that captures every reply with arrays; `audit_mod` makes it.

    Args:
        recorder: Writes and audits the captures.
        names: Names of the arrays of a positional list.
        kind: What the client sends: `weights`, `difference` or `gradient`.
        node: Key of the client's configuration that names the client, or an empty string.
    """

    recorder: CaptureRecorder
    names: tuple[str, ...] = ()
    kind: str = "weights"
    node: str = ""

    def __call__(self, msg: Any, ctxt: Any, call_next: Callable[[Any, Any], Any]) -> Any:
        """Pass a message to the app, capture its reply, and return the reply unchanged."""
        sent: dict[str, Any] = {}
        about = {"round": 0, "message": TRAIN}
        with harmless("the global weights were not read"):
            about = {"round": round_of(msg), "message": str(msg.metadata.message_type)}
            sent = arrays_of(msg, self.names)
        reply = call_next(msg, ctxt)
        with harmless("the reply was not read"):
            self._keep(reply, self._name_of(ctxt), sent, about)
        return reply

    def _name_of(self, ctxt: Any) -> Any:
        """Return the name of the client by its configuration, or else Flower's number of the node."""
        return ctxt.node_config.get(self.node, ctxt.node_id) if self.node else ctxt.node_id

    def _keep(self, reply: Any, node: Any, sent: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        left = arrays_of(reply, self.names)
        if left:
            before = numbers(sent) if _same_model(sent, left) else None
            self.recorder.record(
                numbers(left), kind=self.kind, node=node, examples=examples_of(reply), before=before, **about
            )


def audit_mod(
    folder: str | Path,
    *,
    audit: AuditAction = None,
    budget: float | None = None,
    names: Sequence[str] = (),
    kind: str = "weights",
    node: str = "",
) -> FlowerCapture:
    """Return a Flower client mod that writes one capture per round and client, and may audit it in place.

    Attach it first, so that it is outermost and sees the update after all other mods:
    `ClientApp(mods=[audit_mod("captures")])`, or `@app.train(mods=[audit_mod("captures"), LocalDpMod(...)])`. Messages
    without arrays, such as the replies to an evaluation, pass through. An error of the audit is one line in the log,
    and the message goes on.

    Args:
        folder: Folder of the captures, which contain what leaves the client; `round-1-node-7.safetensors`.
        audit: A function that receives the path of each capture, or the path of an audit file, which is run on the
            capture in a process of its own.
        budget: Most seconds for the audit of one capture, during which the message waits.
        names: Names of the arrays, for an app that sends a list of arrays without names; `arr_0`, `arr_1`, … without.
        kind: What the client sends: `weights`, `difference` or `gradient`.
        node: Key of the client's configuration (`node_config`) that names the client in the files, such as
            `partition-id` in a simulation, whose numbers of nodes are random. Without it, or where a client has no such
            key, Flower's number of the node does.

    Raises:
        AuditError: The budget is not positive, or `audit` is neither a function nor a path.
    """
    return FlowerCapture(CaptureRecorder(Path(folder), audit, budget), tuple(names), kind, node)


@dataclass(frozen=True)
class FlowerModelCheck:
    """A client mod that checks the received model before the app trains; `model_check_mod` makes it.

    Args:
        guard: Checks the model, and refuses it.
        names: Names of the arrays of a positional list.
    """

    guard: ModelGuard
    names: tuple[str, ...] = ()

    def __call__(self, msg: Any, ctxt: Any, call_next: Callable[[Any, Any], Any]) -> Any:
        """Pass a message to the app, or reply with an error if it asks for training on a model with an alarm."""
        if str(msg.metadata.message_type).split(".")[0] != TRAIN:
            return call_next(msg, ctxt)
        kept = dict(ctxt.state.array_records).items()
        last = {key.removeprefix(LAST): one for key, one in kept if key.startswith(LAST)}
        try:
            fine = self.guard.check(numbers(arrays_of(msg, self.names)), ctxt, numbers(joined(last, self.names)))
        except ModelRefused as refused:
            return _error_reply(msg, refused)
        if fine:
            for key, record in dict(msg.content.array_records).items():
                ctxt.state[LAST + key] = record
        return call_next(msg, ctxt)


def model_check_mod(
    model: Callable[[], Any],
    *,
    batch: BatchOf | None = None,
    refuse: bool = True,
    names: Sequence[str] = (),
    loss: LossFunction | None = None,
    normalisation: Normalisation | None = None,
    report: Callable[[ModelCheck], Any] | None = None,
) -> FlowerModelCheck:
    """Return a Flower client mod that searches every received model for signs of a modification before the training.

    `ClientApp(mods=[model_check_mod(Net)])`. With an alarm, the app is not called, and the reply is an error that does
    not tell the server why; the client's log does. The last model without an alarm is kept in the client's state, to
    compare the next one with. Messages that do not ask for training pass through. No alarm is no evidence of honesty.

    Args:
        model: Function without arguments to your model, such as the class of your network.
        batch: Function of Flower's context to inputs and labels of some private examples; without it, the detectors
            that need a batch cannot judge.
        refuse: Whether an alarm stops the training; otherwise it is a line in the log.
        names: Names of the arrays, for an app that sends a list of arrays without names; by default the order of the
            model's `state_dict`.
        loss: Your training loss; cross-entropy by default.
        normalisation: What you apply to these inputs before the model.
        report: Function that receives every result.

    Raises:
        AuditError: `model` is no function.
    """
    return FlowerModelCheck(ModelGuard(model, batch, refuse, loss, normalisation, report), tuple(names))


class CuriousStrategy:
    """Any Flower strategy, with the view of an honest-but-curious server: what each client sent is captured.

    The wrapped strategy decides everything; the messages and the result are its own. If a strategy with server-side
    clipping or noise is used, wrap it: the curious server sees the replies before it protects them.

    Args:
        strategy: A strategy of the message API, such as `flwr.serverapp.strategy.FedAvg`.
        folder: Folder of the captures, with the same names and contents as those of `audit_mod`.
        names: As for `audit_mod`.
        kind: As for `audit_mod`.
        audit: As for `audit_mod`.
        budget: As for `audit_mod`; the round waits.
    """

    def __init__(
        self,
        strategy: Any,
        folder: str | Path,
        *,
        names: Sequence[str] = (),
        kind: str = "weights",
        audit: AuditAction = None,
        budget: float | None = None,
    ) -> None:
        _register()
        self.strategy, self.names, self.kind = strategy, tuple(names), kind
        self.recorder = CaptureRecorder(Path(folder), audit, budget)
        self.sent: dict[str, Any] = {}

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Iterable[Any]:
        """Remember the global weights, and return the messages of the wrapped strategy."""
        self.sent = {}
        with harmless("the global weights were not read"):
            self.sent = named(dict(arrays), self.names)
        return self.strategy.configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Any]) -> tuple[Any, Any]:
        """Capture every reply, and return the aggregate of the wrapped strategy."""
        replies = list(replies)
        for reply in replies:
            with harmless("a reply was not read"):
                left = arrays_of(reply, self.names)
                if left:
                    self.recorder.record(
                        numbers(left),
                        kind=self.kind,
                        round=server_round,
                        node=reply.metadata.src_node_id,
                        examples=examples_of(reply),
                        before=numbers(self.sent) if _same_model(self.sent, left) else None,
                    )
        return self.strategy.aggregate_train(server_round, replies)

    def __getattr__(self, name: str) -> Any:
        if name == "strategy":  # before __init__, as when it is copied
            raise AttributeError(name)
        found = getattr(self.strategy, name)
        if name == "start":  # the loop of the wrapped strategy, which calls the methods of this one
            return partial(type(self.strategy).start, self)
        return found


def _same_model(sent: Mapping[str, Any], left: Mapping[str, Any]) -> bool:
    """Return whether every array that left was sent before, with the same shape."""
    return bool(sent) and all(name in sent and tuple(sent[name].shape) == tuple(left[name].shape) for name in left)


def _error_reply(message: Any, refused: ModelRefused) -> Any:
    """Return the error reply of a client that refuses to train; where Flower is missing, raise the refusal."""
    try:
        from flwr.app import Error, Message
    except ImportError:
        raise refused from None
    return Message(Error(FAILED_PRECONDITION, str(refused)), reply_to=message)


def _register() -> None:
    """Let `isinstance(CuriousStrategy(...), Strategy)` hold where Flower is installed."""
    with suppress(ImportError):
        from flwr.serverapp.strategy import Strategy

        Strategy.register(CuriousStrategy)
