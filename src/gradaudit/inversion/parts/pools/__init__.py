"""How the guesses of several runs become one."""

from ._pool import Pool, Pooled
from .table_median import TableMedian

__all__ = ["Pool", "Pooled", "TableMedian"]
