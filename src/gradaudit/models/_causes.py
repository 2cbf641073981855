"""Exceptions of other libraries, shortened to one line."""

from ..values.errors import in_one_line

__all__ = ["in_one_line"]
