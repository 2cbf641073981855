"""Weights from a file, read without running any code of the file."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ..values.tensor_files import place, read_tensor_file


def load_weights(model: nn.Module, path: Path) -> None:
    """Set all parameters and buffers of `model` from a file; on an error the model is as before.

    What lies nested under a usual key, such as `model` or `state_dict`, is unwrapped, the prefixes of wrappers are
    dropped, of tied weights one is enough, and BatchNorm's `num_batches_tracked` may be missing.

    Args:
        model: Takes the values on its own devices and in its own precisions.
        path: `.safetensors`; `.pt` or `.pth` with plain tensors (`weights_only`); or `.npz` without objects.

    Raises:
        AuditError: No such file, an unknown ending, a file that would need unpickling, or names, shapes and values
            that do not fit the model.
    """
    file = read_tensor_file(path, "weights")
    own = {name: value for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
    placed = place(model, own, file, "weights", whole=True)
    model.load_state_dict({**model.state_dict(), **placed.tensors})
