"""Full float32 on a GPU: TF32 rounds the factors of a product to 10 bits, which a matching objective cannot afford."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 convolutions and matrix products without TF32 inside the context, and restore torch's settings.

    By default torch allows TF32 for convolutions, whose relative error of 1e-3 is as large as the distance below which
    an update counts as explained. The context also works as a decorator. The settings are global to the process.
    """
    with ExitStack() as undo:
        with suppress(RuntimeError):  # torch refuses to read a setting that was made through its newer interface
            if torch.backends.cudnn.allow_tf32:
                _switched(undo, lambda value: setattr(torch.backends.cudnn, "allow_tf32", value), True, False)
        with suppress(RuntimeError):
            if (usual := torch.get_float32_matmul_precision()) != "highest":
                _switched(undo, torch.set_float32_matmul_precision, usual, "highest")
        for place in _places():
            if place.fp32_precision == "tf32":
                _switched(undo, lambda value, at=place: setattr(at, "fp32_precision", value), "tf32", "ieee")
        yield


def _switched(undo: ExitStack, change: Callable[[Any], object], usual: Any, now: Any) -> None:
    undo.callback(change, usual)
    change(now)


def _places() -> list[Any]:
    """Return the operators whose precision torch's newer interface (2.9) sets one by one."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    found = [getattr(cudnn, "conv", None), getattr(cudnn, "rnn", None), matmul]
    return [place for place in found if hasattr(place, "fp32_precision")]
