"""Running the cases of an audit, and saving their findings."""

from .lock import locked
from .results import Results, difference, read_folder
from .serial import Listener, describe_run, run

__all__ = ["Listener", "Results", "describe_run", "difference", "locked", "read_folder", "run"]
