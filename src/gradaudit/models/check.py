"""Does a model take the examples, and how many classes does it tell apart?"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import AuditError
from ..types import Modality
from ._causes import in_one_line


def input_check(
    model: nn.Module, shape: tuple[int, ...], device: torch.device | str, modality: Modality = Modality.PICTURES
) -> int:
    """Show the model one example of zeros, in evaluation mode, and put its modes back.

    Args:
        model: A classifier, on `device`.
        shape: `(C, H, W)` of a picture, `(L,)` of a text, `(D,)` of a row.
        device: Where to put the example.
        modality: What an example is; token ids are integers.

    Returns:
        K, the number of logits.

    Raises:
        AuditError: The model raised, or did not return logits `[1, K]`.
    """
    modes = [(module, module.training) for module in model.modules()]
    kind = torch.int64 if modality is Modality.TEXT else torch.float32
    noun = {Modality.PICTURES: "picture", Modality.TEXT: "text", Modality.TABLE: "row"}[modality]
    try:
        with torch.no_grad():
            output = model.eval()(torch.zeros(1, *shape, dtype=kind, device=device))
    except Exception as error:  # the user's model may raise anything
        raise AuditError(f"model: it cannot take {noun}s of shape {list(shape)}: {in_one_line(error)}") from error
    finally:
        for module, mode in modes:
            module.training = mode
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != 1:
        came = f"shape {list(output.shape)}" if isinstance(output, Tensor) else f"type {type(output).__name__}"
        raise AuditError(
            f"model: for one {noun} of shape {list(shape)} it returned a value of {came}, not logits [1, K]."
        )
    return output.shape[1]
