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
    mgia,
    sme_against_unrolling,
    sok_table_1,
    sok_table_2,
    trained_network,
)
from .base import Cell, Comparison, Curve, Figure, Study, Table
from .bench import Bench
from .run import StudyResult, read_study, run_study

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
    "Curve",
    "Figure",
    "Study",
    "StudyResult",
    "Table",
    "read_study",
    "run_study",
]
