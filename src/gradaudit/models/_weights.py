"""Loading weights from a file without running any code of the file."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ..values.tensor_files import place, read_tensor_file


def load_weights(model: nn.Module, path: Path) -> None:
    """Load all parameters and buffers of `model` from a file; after an error the model is unchanged.

    Tensors nested under a usual key, such as `model` or `state_dict`, are unwrapped, and the prefixes of wrappers are
    removed. One of several tied weights is enough, and BatchNorm's `num_batches_tracked` may be missing.

    Args:
        model: The model; it keeps its devices and precisions.
        path: `.safetensors`; `.pt` or `.pth` with plain tensors (`weights_only`); or `.npz` without objects.

    Raises:
        AuditError: There is no such file, its ending is unknown, it would need unpickling, or its names, shapes or
            values do not fit the model.
    """
    file = read_tensor_file(path, "weights")
    own = {name: value for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    placed = place(model, own, file, "weights", whole=True)
    model.load_state_dict({**model.state_dict(), **placed.tensors})
