"""Files of tensors, read without executing code: every tensor in one form, under the names of the model."""

from .formats import ENDINGS
from .parameter_names import Placed, listed, place, plain_name
from .tensor_reading import TensorFile, read_tensor_file

__all__ = ["ENDINGS", "Placed", "TensorFile", "listed", "place", "plain_name", "read_tensor_file"]
