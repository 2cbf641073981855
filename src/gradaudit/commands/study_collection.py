"""Running or showing all studies of a collection, with one index page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..values.errors import AuditError, AuditInterrupted
from ..values.streams import stdout_kept
from ..values.terminal import echo
from .listings import show

if TYPE_CHECKING:
    from ..studies import Study, StudyResult
    from ..studies._collections import Collection

RunOne = Callable[["Study", Path], "tuple[StudyResult, Path, AuditError | None]"]


def run_collection(collection: Collection, run_one: RunOne, folder: Path, *, as_json: bool) -> None:
    """Run every study of a collection, each in its own subfolder, and write the index page after each.

    A study that cannot be measured with this data, or that fails, stops no other one.

    Args:
        collection: The collection.
        run_one: Runs a study in a folder.
        folder: Folder of the index page.
        as_json: Whether the results are printed as JSON.

    Raises:
        AuditError: A measurement failed, after all studies are done, or the run was interrupted.
    """
    from ..report.study_index import index_lines, write_index
    from ..studies import STUDIES
    from ..values.files import make_folder

    make_folder(folder, option="--out")
    found: dict[str, StudyResult | str] = {}
    failures: list[str] = []
    page = write_index(collection, found, folder)
    with stdout_kept(as_json):
        for name in collection.studies:
            try:
                found[name], _, failure = run_one(STUDIES[name], folder / name)
            except AuditInterrupted:
                raise
            except AuditError as error:
                found[name], failure = str(error), None
            if failure:
                failures.append(f"{name}: {failure}")
            page = write_index(collection, found, folder)
    if as_json:
        results = {name: {"left_out": one} if isinstance(one, str) else one.to_json() for name, one in found.items()}
        echo(json.dumps({"collection": collection.name, "studies": results}, allow_nan=False))
    else:
        headings = ("question", "study", "measured", "seconds", "verdict", "claims")
        show(headings, index_lines(collection, found))
        echo(f"Page: {page.resolve()}")
    if failures:
        raise AuditError(" ".join(failures))
