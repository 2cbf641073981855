"""One round of a Flower `ClientApp` in this process, without a simulation, a server or a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..values.errors import AuditError, printable
from ..values.versions import version_of
from .flower import TRAIN
from .flower_messages import ROUND, arrays_of, examples_of, named, numbers
from .writing import capture_name, write_capture

LEAST = (1, 42)
MISSING = "run_client_once: needs Flower 1.42 or later: `pip install 'gradaudit[flower]'`."
PRIVATE = (
    "run_client_once: Flower {version} has changed the private interface that calls an app without a server. Use "
    "audit_mod in a simulation instead."
)


@dataclass(frozen=True, eq=False)
class ClientRound:
    """What one client received and sent in one round.

    Args:
        before: Name -> array of the global weights that it received.
        after: Name -> array of its reply, in the order in which they were sent.
        examples: Number of examples that it reported, if it did.
        metrics: Record -> its metrics.
        round: Number of the round.
        node: Number of the client.
    """

    before: Mapping[str, Any]
    after: Mapping[str, Any]
    examples: int | None
    metrics: Mapping[str, Mapping[str, Any]]
    round: int
    node: int

    def write(self, folder: str | Path, *, kind: str = "weights") -> Path:
        """Write the round as `audit_mod` does, and return the path of the capture.

        Args:
            folder: Folder of the capture and of the global weights.
            kind: What the client sends: `weights`, `difference` or `gradient`.
        """
        return write_capture(
            Path(folder) / capture_name(self.round, self.node),
            self.after,
            kind=kind,
            round=self.round,
            node=self.node,
            examples=self.examples,
            order=list(self.after),
            before=self.before,
        )


def run_client_once(
    app: Any,
    arrays: Any,
    run_config: Mapping[str, Any] | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    node_config: Mapping[str, Any] | None = None,
    round: int = 1,
    node: int = 1,
    names: tuple[str, ...] = (),
) -> ClientRound:
    """Call a Flower `ClientApp` once with the message that a server sends for training, and return what it sent.

    Args:
        app: The `ClientApp`, with its mods.
        arrays: The global weights: an `ArrayRecord`, a torch state_dict, name -> numpy array, or a list of arrays.
        run_config: The run's configuration, `[tool.flwr.app.config]` in `pyproject.toml`.
        config: What the server's message holds besides the round, such as `{"lr": 0.1}`, or `clipping_norm` for
            Flower's clipping mods.
        node_config: The client's configuration, such as `{"partition-id": 0, "num-partitions": 2}`.
        round: Number of the round.
        node: Number of the client.
        names: Names of the arrays, for an app that sends a list of arrays without names.

    Raises:
        AuditError: Flower is not installed or too old, it has changed the private interface that this call needs, or
            the app replied with an error or without arrays.
    """
    flower = _flower()
    record = _record(arrays, flower)
    settings = flower.ConfigRecord({ROUND: round, **(config or {})})
    content = flower.RecordDict({"arrays": record, "config": settings})
    sent = named(dict(record), names)
    with _identity(node):
        message = flower.Message(content, dst_node_id=node, message_type=TRAIN)
        state = flower.RecordDict()
        context = flower.Context(
            run_id=1, node_id=node, node_config=dict(node_config or {}), state=state, run_config=dict(run_config or {})
        )
        reply = app(message, context)
    if reply.has_error():
        raise AuditError(f"run_client_once: the app replied with an error: {printable(str(reply.error.reason))}")
    left = arrays_of(reply, names)
    if not left:
        raise AuditError("run_client_once: the app's reply holds no arrays, so there is nothing to audit.")
    metrics = {key: dict(value) for key, value in dict(reply.content.metric_records).items()}
    return ClientRound(numbers(sent), numbers(left), examples_of(reply), metrics, round, node)


def _flower() -> Any:
    """Return `flwr.app`. Raise `AuditError` if Flower is missing or too old."""
    try:
        import flwr.app
    except ImportError as error:
        raise AuditError(MISSING) from error
    version = version_of("flwr")
    if tuple(int(part) for part in version.split(".")[:2]) < LEAST:
        raise AuditError(f"{MISSING} Found {version}.")
    return flwr.app


def _record(arrays: Any, flower: Any) -> Any:
    """Return the global weights as Flower's record; numbers of torch and Python become numpy arrays."""
    if isinstance(arrays, flower.ArrayRecord):
        return arrays
    pairs = arrays.items() if isinstance(arrays, Mapping) else ((str(i), value) for i, value in enumerate(arrays))
    return flower.ArrayRecord({name: flower.Array(_plain(value)) for name, value in pairs})


def _plain(value: Any) -> Any:
    import numpy as np

    return np.asarray(value.detach().cpu().numpy() if hasattr(value, "detach") else value)


@contextmanager
def _identity(node: int) -> Iterator[None]:
    """Give the process the identity of a task, without which Flower makes no message, and take it away after the block.

    Raises:
        AuditError: This version of Flower has another private interface.
    """
    fields = ("run_id", "node_id", "task_id")
    try:
        from flwr.supercore.task_identity import TaskIdentity

        kept = {field: getattr(TaskIdentity, f"_{field}") for field in fields}
    except (ImportError, AttributeError) as error:
        raise AuditError(PRIVATE.format(version=version_of("flwr"))) from error
    try:
        for field, value in zip(fields, (1, node, 1), strict=True):
            setattr(TaskIdentity, field, value)
        yield
    finally:
        for field, value in kept.items():
            setattr(TaskIdentity, field, value)
