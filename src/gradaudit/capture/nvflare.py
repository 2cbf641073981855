"""NVFlare: filters that see exactly what leaves a client, and check what it receives (extra `nvflare`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ..values.errors import AuditError
from .model_guard import ModelGuard
from .recorder import AuditAction, CaptureRecorder, harmless

try:
    from nvflare.apis.dxo import DataKind
    from nvflare.apis.dxo_filter import DXOFilter
    from nvflare.apis.filter import FilterChainType, FilterContextKey
    from nvflare.app_common.app_constant import AppConstants
except ImportError as error:
    raise AuditError(
        "gradaudit.capture.nvflare: needs NVFlare 2.9 or later: `pip install 'gradaudit[nvflare]'`."
    ) from error

KIND_OF = {DataKind.WEIGHTS: "weights", DataKind.WEIGHT_DIFF: "difference"}
EXAMPLES = ("num_examples", "num-examples")
TRAIN = "train"

_received: dict[tuple[str, str], Mapping[str, Any]] = {}
"""Global weights of the present round by folder and site: the filters of both directions are two objects."""


class CaptureFilter(DXOFilter):
    """A filter that captures or audits what a client sends, and changes nothing.

    Add it last to the output filters of a client: it then sees the update after all other filters. Added to the input
    filters too, it remembers the global weights, which are then written beside the captures:
    `recipe.add_client_input_filter(CaptureFilter("captures"), tasks=["train"])` and
    `recipe.add_client_output_filter(CaptureFilter("captures"), tasks=["train"])`. An error of the audit is one line in
    the log, and the update goes on.

    Args:
        folder: Folder of the captures, as an absolute path: NVFlare runs every client in a folder of its own.
        audit: Path of an audit file, which is run on each capture in a process of its own, or a function of the
            capture's path as `module:function`, because NVFlare writes the arguments of a filter into a file.
        budget: Most seconds for the audit of one capture, during which the update waits.
    """

    def __init__(self, folder: str, audit: str | None = None, budget: float | None = None) -> None:
        super().__init__(supported_data_kinds=list(KIND_OF), data_kinds_to_filter=None)
        self.folder, self.audit, self.budget = str(folder), audit, budget
        self._recorder = CaptureRecorder(Path(self.folder), action_of(audit), budget)

    def process_dxo(self, dxo: Any, shareable: Any, fl_ctx: Any) -> None:
        """Capture an update that leaves, or remember the weights that arrive; return `None`, which changes nothing."""
        with harmless("the update was not read"):
            site = str(fl_ctx.get_identity_name())
            if self.get_prop(FilterContextKey.CHAIN_TYPE) == FilterChainType.TASK_DATA_CHAIN:
                _received[self.folder, site] = _copied(dxo.data)
                return
            kind = KIND_OF[dxo.data_kind]
            self._recorder.record(
                _copied(dxo.data),
                kind=kind,
                direction="after-minus-before" if kind == "difference" else None,
                round=round_of(dxo, shareable, fl_ctx),
                node=site,
                examples=_examples(dxo),
                before=_received.get((self.folder, site)),
            )


class ModelCheckFilter(DXOFilter):
    """An input filter that searches every received model for signs of a modification before the client trains.

    `recipe.add_client_input_filter(ModelCheckFilter("my_package.nets:build"), tasks=["train"])`. With an alarm, the
    task is not executed, and the server receives the return code of a filter that failed. No alarm is no evidence of
    honesty. Functions are named as `module:function`, because NVFlare writes the arguments of a filter into a file.

    Args:
        model: Function without arguments to your model.
        batch: Function of the name of the site to inputs and labels of some of its private examples; without it, the
            detectors that need a batch cannot judge.
        refuse: Whether an alarm stops the training; otherwise it is a line in the log.
    """

    def __init__(self, model: str, batch: str | None = None, refuse: bool = True) -> None:
        super().__init__(supported_data_kinds=list(KIND_OF), data_kinds_to_filter=None)
        self.model, self.batch, self.refuse = model, batch, refuse
        self._guard = ModelGuard(function_of(model, "model"), batch and function_of(batch, "batch"), refuse)
        self._last: dict[str, Mapping[str, Any]] = {}

    def process_dxo(self, dxo: Any, shareable: Any, fl_ctx: Any) -> None:
        """Check a model that arrives; return `None`, which changes nothing.

        Raises:
            ModelRefused: The model raises an alarm or cannot be checked.
        """
        site = str(fl_ctx.get_identity_name())
        arrays = _copied(dxo.data) if dxo.data_kind == DataKind.WEIGHTS else {}
        if self._guard.check(arrays, site, self._last.get(site)):
            self._last[site] = arrays


def function_of(text: str, at: str) -> Callable[..., Any]:
    """Return the function that `module:function` names.

    Raises:
        AuditError: The text has another form, or the module or the function does not exist.
    """
    found = action_of(text)
    if not callable(found):
        raise AuditError(f"{at}: {text} should name a function as module:function.")
    return found


def action_of(audit: str | Callable[[Path], Any] | None) -> AuditAction:
    """Return the function that `module:function` names, or the path of an audit file as it is.

    Raises:
        AuditError: The module or the function does not exist.
    """
    module, colon, name = audit.rpartition(":") if isinstance(audit, str) else ("", "", "")
    if not colon or audit == name or str(audit).endswith((".yaml", ".yml")):
        return audit
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise AuditError(f"audit: {audit} should name a function as module:function, or an audit file.") from error


def round_of(dxo: Any, shareable: Any, fl_ctx: Any) -> int:
    """Return the number of the round, from 0 as NVFlare counts it."""
    key = AppConstants.CURRENT_ROUND
    places = (
        lambda: shareable.get_header(key),
        lambda: dxo.get_meta_prop(key),
        lambda: fl_ctx.get_prop(key),
    )
    found = (place() for place in places)
    return int(next((value for value in found if value is not None), 0))


def _examples(dxo: Any) -> int | None:
    found = next((dxo.get_meta_prop(key) for key in EXAMPLES if dxo.get_meta_prop(key) is not None), None)
    return None if found is None else int(found)


def _copied(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arrays of a DXO, without entries that are not arrays; later filters may change the originals."""
    copies = {}
    for name, value in data.items():
        if hasattr(value, "shape"):
            copies[str(name)] = value.clone() if inspect.ismethod(getattr(value, "clone", None)) else value.copy()
    return copies
