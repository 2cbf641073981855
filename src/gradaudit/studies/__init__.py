"""Studies: reproductions of tables and figures of papers, each by one command."""

from ..values.discovery import Registry, values_called
from ._bench import Bench
from ._definition import Cell, Comparison, Correlation, Figure, Study, StudyCurve, Table
from ._running import StudyResult, read_stored, read_study, run_study

STUDIES: Registry[Study] = Registry(
    __name__,
    "gradaudit.studies",
    lambda value: value.name if isinstance(value, Study) else None,
    within=values_called("STUDY"),
)

__all__ = [
    "STUDIES",
    "Bench",
    "Cell",
    "Comparison",
    "Correlation",
    "Figure",
    "Study",
    "StudyCurve",
    "StudyResult",
    "Table",
    "read_stored",
    "read_study",
    "run_study",
]

__getattr__ = STUDIES.attribute
__dir__ = STUDIES.attributes
