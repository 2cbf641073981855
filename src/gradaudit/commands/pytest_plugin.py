"""The pytest plugin: audits as tests. torch loads when a test first runs an audit, and not before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..report.outcome import Run

FOLDER = "leak-audit"


@pytest.fixture
def leak_audit(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., Run]:
    """Return a function that audits a client, or a network whose client has no defense.

    It takes the arguments of `gradaudit.run`; by default the attacks are the battery `standard-1`, as in an audit file
    that names none, and the adversary knows `priors`. The findings, the images and the page of every call are in a
    folder of `tmp_path`. The worst gain and the verdict are recorded as properties of the test, which `--junitxml`
    writes down.
    """
    numbers = iter(range(1, 1_000_000))

    def audit(client: Any, batches: Any, attacks: Any = None, knowledge: Any = "priors", **options: Any) -> Run:
        from torch import nn

        from ..audit.battery import DEFAULT
        from ..client.participant import Client
        from ..report.auditing import run
        from ..report.gate import gate_facts

        audited = Client(client) if isinstance(client, nn.Module) else client
        out = options.pop("out", tmp_path / f"{FOLDER}-{next(numbers)}")
        found = run(audited, batches, DEFAULT if attacks is None else attacks, knowledge, out=out, **options)
        # What `record_property` does, which warns under the usual junit_family that these are properties of a test.
        facts = gate_facts(found.findings)
        request.node.user_properties += [(f"gradaudit.{name}", value) for name, value in facts.items()]
        return found

    return audit
