"""Running the trials of audits, sweeps and studies, and saving their results."""

from .case_jobs import describe_run, run
from .executors import EXECUTORS, make_executor, usual_workers
from .lock import locked
from .results import Results, difference, read_folder
from .runner import Listener

__all__ = [
    "EXECUTORS",
    "Listener",
    "Results",
    "describe_run",
    "difference",
    "locked",
    "make_executor",
    "read_folder",
    "run",
    "usual_workers",
]
