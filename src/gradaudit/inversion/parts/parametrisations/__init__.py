"""What is optimised, and how it becomes inputs."""

from .coarse import Coarse
from .epoch_copies import EpochCopies
from .grnn_generator import GRNNGenerator
from .pixels import Pixels
from .table_rows import TableRows
from .token_embeddings import TokenEmbeddings

__all__ = [
    "Coarse",
    "EpochCopies",
    "GRNNGenerator",
    "Pixels",
    "TableRows",
    "TokenEmbeddings",
]
