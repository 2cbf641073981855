"""Tables and figures of papers, each made again by one command."""

from . import (
    afgi_time,
    hfgradinv_figure_6,
    hfgradinv_figure_7,
    hfgradinv_figure_8,
    hfgradinv_figure_9,
    hfgradinv_table_1,
    hfgradinv_table_2,
    label_inference,
    sme_against_unrolling,
    sok_table_1,
    sok_table_2,
    trained_network,
)
from . import mgia_table_1 as mgia
from ._bench import Bench
from ._definition import Cell, Comparison, Figure, Study, StudyCurve, Table
from ._running import StudyResult, read_study, run_study

STUDIES: dict[str, Study] = {
    module.STUDY.name: module.STUDY
    for module in (
        label_inference,
        mgia,
        hfgradinv_table_1,
        hfgradinv_table_2,
        hfgradinv_figure_6,
        hfgradinv_figure_7,
        hfgradinv_figure_8,
        hfgradinv_figure_9,
        trained_network,
        afgi_time,
        sok_table_1,
        sok_table_2,
        sme_against_unrolling,
    )
}

__all__ = [
    "STUDIES",
    "Bench",
    "Cell",
    "Comparison",
    "Figure",
    "Study",
    "StudyCurve",
    "StudyResult",
    "Table",
    "read_study",
    "run_study",
]
