"""The result of an audit: findings as values, as rows of a table, as a page and in a notebook."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

from .. import report
from ..execution import Results
from ..execution.results import FEDERATION
from ..values.errors import AuditError
from ..values.files import make_folder
from ..values.finding import Finding, RunRecord
from ..values.thresholds import Threshold
from .feasibility import FILE as FEASIBILITY
from .gate import check
from .verdict import Verdict
from .worst_values import WorstValue

EXAMPLES = ("images", "examples")  # folders of a run that contain images and transcripts


@dataclass(frozen=True, eq=False)
class Run:
    """The findings of one run, with access to its page, its verdicts and its records.

    Args:
        findings: One finding for each attack on each batch of each client.
        record: The record of the run.
        folder: The folder of its findings, images and page.

    >>> import torch
    >>> import gradaudit as ga
    >>> client = ga.Client(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 10)))
    >>> batch = ga.Batch(torch.rand(1, 3, 4, 4), torch.tensor([3]))
    >>> found = ga.run(client, batch, "dlg", ["priors", "LABELS"])
    >>> found.page.name
    'report.html'
    >>> [record["attack"] for record in found.to_records()]
    ['dlg']
    >>> [worst.threshold.measure for worst in found.fails("psnr-gain=6dB", "recovered=0")]
    ['psnr-gain', 'recovered']
    """

    findings: tuple[Finding, ...] = field(repr=False)
    record: RunRecord = field(repr=False)
    folder: Path

    @property
    def page(self) -> Path:
        """The path of the page `report.html`, which is written if it is missing."""
        path = self.folder / report.PAGE
        return path if path.is_file() else report.write(self.findings, self.record, self.folder)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdicts on the configurations of the client as the page states them, the worst first."""
        return report.verdicts(self.findings, self.folder)

    def fails(self, *thresholds: str | Threshold) -> tuple[WorstValue, ...]:
        """Return what reaches a threshold, by the worst example over all attacks, clients and batches.

        An empty result means that the whole run was compared and nothing reaches a threshold.

        Args:
            thresholds: Texts such as `psnr-gain=6dB`, `label-accuracy=50%` or `recovered=0`, or values.

        Raises:
            AuditError: A threshold is not one; or none is reached, but a case failed or cannot be judged, or a
                threshold could not be checked.
        """
        return check(self.findings, thresholds, self.record)

    def write(self, folder: str | PathLike[str]) -> Path:
        """Copy the run with its findings and images into a folder, and return the path of its page there.

        Raises:
            AuditError: The folder contains another run, or cannot be used.
        """
        results = Results(Path(folder), self.record)
        for name in filter(lambda name: (self.folder / name).is_dir(), EXAMPLES):
            make_folder(results.folder / name)
            for file in sorted((self.folder / name).iterdir()):
                shutil.copyfile(file, results.folder / name / file.name)
        if (self.folder / FEASIBILITY).is_file():
            shutil.copyfile(self.folder / FEASIBILITY, results.folder / FEASIBILITY)
        if (self.folder / FEDERATION).is_file():
            shutil.copyfile(self.folder / FEDERATION, results.folder / FEDERATION)
        for finding in self.findings:
            if finding.trial not in results.done:
                results.append(finding)
        results.export()
        return report.write(results.findings, results.run, results.folder)

    def to_records(self) -> list[dict[str, Any]]:
        """Return one flat record for each private example of each finding.

        Scores are those of the example, in the units of `gradaudit.metrics.METRICS`; `gain` is the difference between
        reconstruction and control in the deciding metric. If a case could not run, all its scores are `None`, and
        `cannot_judge` says why. They are `None`, too, if there is no ground truth.
        """
        names = dict.fromkeys(name for finding in self.findings for name in finding.scores.named)
        return [_record(finding, i, names) for finding in self.findings for i in range(finding.examples)]

    def to_dataframe(self) -> Any:
        """Return the records as a `pandas.DataFrame`.

        Raises:
            AuditError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise AuditError(
                "to_dataframe: needs pandas: `pip install 'gradaudit[dataframe]'`, or use to_records()."
            ) from error
        return pandas.DataFrame.from_records(self.to_records())

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the verdicts, and the private examples beside their reconstructions."""
        return report.notebook(self.findings, self.record, self.folder)


def _record(finding: Finding, i: int, names: Mapping[str, None]) -> dict[str, Any]:
    guessed, scored = finding.guessed_labels, finding.scored
    return {
        "client": finding.client,
        "attack": finding.attack,
        "batch": finding.repeat,
        "example": i,
        "name": finding.picture_names[i] if finding.picture_names else None,
        "label": finding.labels[i] if finding.labels else None,
        "guessed_label": guessed[i] if guessed else None,
        "labels_granted": finding.labels_granted,
        **{name: _of(finding.scores.named, name, i) for name in names},
        **{f"control_{name}": _of(finding.control.named, name, i) for name in names},
        "gain": finding.gain[i] if scored else None,
        "verified": finding.verified,
        "objective": finding.objective,
        "seconds": finding.seconds,
        "seed": finding.seed,
        "knowledge": ", ".join(finding.knowledge),
        "cannot_judge": finding.cannot_judge,
        "case": finding.case,
    }


def _of(named: Mapping[str, Any], metric: str, i: int) -> float | None:
    return float(named[metric].per_example[i]) if metric in named else None
