"""One case after another, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from ..audit import Audited, Case, audit
from ..finding import Finding, Pictures, Run
from ..inversion.attack import Watch
from ..plan import Plan
from .results import Results


class Listener(Protocol):
    """Told of a run's progress."""

    def begin(self, case: Case, number: int, total: int) -> Watch | None:
        """A case starts; what comes back is told of its steps."""
        ...

    def end(self, finding: Finding, number: int, total: int) -> None:
        """A case is done and on disk."""
        ...


def describe_run(plans: Sequence[Plan], title: str) -> Run:
    """What the page says of the run as a whole, and what must stay equal for it to be continued."""
    many = len(plans) > 1
    identity = {f"{plan.number}: {k}" if many else k: v for plan in plans for k, v in plan.identity().items()}
    return Run(
        title=title,
        configuration="---\n".join(plan.config.as_yaml() for plan in plans),
        source=plans[0].source.description,
        planned=sum(map(len, plans)),
        identity={**identity, "gradaudit": version("gradaudit")},
        attribution=plans[0].source.attribution,
        version=version("gradaudit"),
    )


def run(plans: Sequence[Plan], results: Results, listener: Listener) -> None:
    """Audit every case of every plan that `results` does not hold yet.

    Each finding is on disk before the next case starts, so that an interruption or an error loses one case at most.

    Raises:
        AuditError: As `audit`, with the case named.
    """
    number, total = 0, results.run.planned
    for plan in plans:
        for case in plan.cases():
            number += 1
            if case.key in results.done:
                continue
            audited = audit(case, listener.begin(case, number, total))
            finding = _with_files(audited, results.folder)
            results.append(finding)
            listener.end(finding, number, total)


def _with_files(audited: Audited, folder: Path) -> Finding:
    """Save the pictures, and say in the finding where they lie."""
    pictures = Pictures(
        truth=_save(audited.truth, folder, f"{audited.finding.case}-truth"),
        reconstruction=_save(audited.reconstruction, folder, f"{audited.finding.case}-reconstruction"),
        control=_save(audited.control, folder, f"{audited.finding.case}-control"),
    )
    return replace(audited.finding, pictures=pictures, versions=versions())


def _save(pictures: Tensor, folder: Path, stem: str) -> tuple[str, ...]:
    (folder / "images").mkdir(exist_ok=True)
    names = []
    for number, picture in enumerate(pictures):
        pixels = picture.nan_to_num(nan=0.5).mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        names.append(f"images/{stem}-{number}.png")
        Image.fromarray(np.ascontiguousarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)).save(
            folder / names[-1]
        )
    return tuple(names)


def versions() -> dict[str, str]:
    """What a finding was computed with."""
    return {"python": python_version(), **{name: version(name) for name in ("gradaudit", "torch", "torchvision")}}
