"""Tables and figures of papers, each made again by one command."""

from . import label_inference
from .base import Cell, Curve, Figure, Study, Table
from .bench import Bench
from .run import StudyResult, read_study, run_study

STUDIES: dict[str, Study] = {study.name: study for study in (label_inference.STUDY,)}

__all__ = ["STUDIES", "Bench", "Cell", "Curve", "Figure", "Study", "StudyResult", "Table", "read_study", "run_study"]
