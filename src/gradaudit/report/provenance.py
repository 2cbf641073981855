"""The footer: hashes that bind a page to its audit file, its updates and its model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from ..audit.sweep_file import at_in_words
from ..values.finding import Finding, RunRecord

FILE_KEY = "configuration sha256"  # in the identity of a redacted copy: the keyed hash of the original file
MODEL_KEY = "model sha256"
MOST_UPDATES = 16


def provenance(findings: Sequence[Finding], run: RunRecord) -> tuple[tuple[str, str], ...]:
    """Return name -> value of everything that identifies the inputs of the audit.

    Args:
        findings: Findings of the run, in the order of the lines.
        run: The record of the run.
    """
    keyed = " (keyed)" if run.redacted else ""
    lines = [(f"audit file sha256{keyed}", _configuration(run))]
    updates: dict[str, str] = {}
    for finding in findings:
        if finding.update_sha256:
            updates.setdefault(finding.update_sha256, f"update sha256{keyed}, {_place(finding)}")
    lines += [(name, digest) for digest, name in updates.items()][:MOST_UPDATES]
    if len(updates) > MOST_UPDATES:
        lines.append(("further updates", f"{len(updates) - MOST_UPDATES}, in results.jsonl"))
    models = dict.fromkeys(value for key, value in run.identity.items() if key.endswith(MODEL_KEY))
    lines += [("model state sha256", str(value)) for value in models]
    lines.append(("gradaudit", run.version))
    return tuple((name, value) for name, value in lines if value)


def _configuration(run: RunRecord) -> str:
    if run.redacted:
        return str(run.identity.get(FILE_KEY, ""))
    return hashlib.sha256(run.configuration.encode()).hexdigest() if run.configuration else ""


def _place(finding: Finding) -> str:
    return f"{at_in_words(finding.grid) or finding.client}, batch {finding.repeat + 1}"
