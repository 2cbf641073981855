"""What remains of a finding and of the record of a run when everything private is removed: the figures."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from ..audit.assessment import Assessment
from ..audit.config import SWEPT
from ..audit.protected import CAPTURED
from ..audit.sweep_file import canonical
from ..audit.yaml_text import parse_yaml, write_yaml
from ..client.calibrated_noise import REASONS as REASONS_WITHOUT_NOISE
from ..client.defense_effect import BEFORE_UPDATE
from ..execution.journal import Failure
from ..values.errors import AuditError
from ..values.federation_result import FederationResult
from ..values.finding import Finding, RunRecord
from ..values.protection import Protection
from ..values.scores import Scores
from .feasibility import AssessedClient
from .provenance import FILE_KEY, MODEL_KEY

REMOVED = "redacted"
ABOUT_DATA = ("data", "public_data", "update")  # sections of an audit file that name private files, columns and labels
PUBLIC_KEYS = ("source", "kind")  # their values are words of this package
KEPT = frozenset(
    {
        "attack", "paper", "client", "seed", "repeat", "label_accuracy", "labels_granted", "objective", "seconds",
        "verified", "needs", "knowledge", "gallery", "modality", "curves", "deviations", "no_op_defenses", "versions",
        "battery", "optional", "cut", "unscored", "proof", "adaptive", "defended",
    }
)  # fmt: skip
"""Fields of a finding that are copied. Every other field is converted by `Redactor.finding`, or left out."""
REASONS = (
    "a guess without the update already reaches [^:]*",
    "the update holds no values",
    "the update is zero in every value: the loss has no slope at this batch, or a defense left nothing",
    "every tensor of the update is constant",
    "every value of the reconstruction is NaN or infinite",
)
WARNINGS = (
    r"\d+ public \w+ (?:is|are) private too \(the same or nearly the same example\), "
    r"and the adversary did not get to see them\.",
)
REASON = "The reason is left out of this redacted copy."
QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
CODE = re.compile(r"[^/\\]+\.py:\w+\Z")
DATA_KEY = "data sha256"


class Redactor:
    """Removes what is private from the values of one run.

    Hashes of private data are replaced by keyed ones, so that nobody can confirm a guess of an example by its hash.
    The key is the hash of the whole data set, which the copy does not contain: copies of runs on the same data can
    still be compared in pairs.

    Args:
        run: The record of the run.
        findings: Its findings, whose names of examples are removed from all text.
    """

    def __init__(self, run: RunRecord, findings: Sequence[Finding]) -> None:
        known = sorted({str(value) for key, value in run.identity.items() if key.endswith(DATA_KEY) and value})
        self._key = "\n".join(known).encode() or secrets.token_bytes(32)
        self._tokens: dict[tuple[str, str], str] = {}
        names = {name for finding in findings for name in finding.picture_names}
        names |= {text for key, value in run.identity.items() if _about_data(key) for text in _texts(key, value)}
        parts = {part for name in names for part in (name, *re.split(r"[/\\]", name), re.split(r"[/\\]", name)[-1])}
        parts |= {part.rpartition(".")[0] for part in parts}
        words = sorted((part for part in parts if len(part) > 2), key=len, reverse=True)
        self._names = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, words))})(?!\w)") if words else None

    def finding(self, finding: Finding) -> Finding:
        """Return the figures of a finding."""
        kept = {entry.name: getattr(finding, entry.name) for entry in fields(finding) if entry.name in KEPT}
        notes = (_left_out(len(finding.notes), "note"),) if finding.notes else ()
        warned = [text for text in finding.warnings if any(re.fullmatch(one, text) for one in WARNINGS)]
        if len(warned) < len(finding.warnings):
            warned.append(_left_out(len(finding.warnings) - len(warned), "warning"))
        return Finding(
            **{**kept, "attack": _code(finding.attack), "client": _pathless(finding.client)},
            case=re.sub(r"^[0-9a-f]{16}(?=-)", lambda found: self.keyed(found.group())[:16], finding.case),
            scores=_scores(finding.scores),
            control=_scores(finding.control),
            attack_value=_quoted(finding.attack_value, finding.paper),
            client_value=_quoted(finding.client_value),
            unlabelled=finding.examples,
            notes=notes,
            warnings=tuple(warned),
            cannot_judge=_reason(finding.cannot_judge),
            trial=self.trial(finding.trial),
            batch=self.keyed(finding.batch)[:16],
            update_sha256=self.keyed(finding.update_sha256),
            grid={key: self._value(key, value) for key, value in finding.grid.items()},
            protection=_protection(finding.protection),
        )

    def assessed(self, client: AssessedClient) -> AssessedClient:
        """Return the figures of the prior-only control, which the band of the page shows, and nothing else."""
        prior = client.assessment.prior
        if prior is not None:
            prior = replace(prior, attack=_code(prior.attack), why_not=_reason(prior.why_not))
        return AssessedClient(_pathless(client.client), client.number, Assessment(prior=prior))

    def record(self, run: RunRecord) -> RunRecord:
        """Return the record of the copy."""
        file = hashlib.sha256(run.configuration.encode()).hexdigest() if run.configuration else ""
        return replace(
            run,
            title=self._names.sub(REMOVED, run.title) if self._names else run.title,
            configuration=self._configuration(run.configuration),
            source="data not described in this redacted copy",
            attribution="",
            identity={**self._identity(run.identity), FILE_KEY: self.keyed(file)},
            grid={key: tuple(self._value(key, value) for value in values) for key, values in run.grid.items()},
            failures=(),
            redacted=True,
            trainings=tuple(map(self.trial, run.trainings)),
        )

    def training(self, found: FederationResult) -> FederationResult:
        """Return the figures of a training of a federation."""
        grid = {key: self._value(key, value) for key, value in found.grid.items()}
        return replace(found, trial=self.trial(found.trial), client=_pathless(found.client), grid=grid)

    def failure(self, failure: Failure) -> Failure:
        """Return that a trial failed, without the reason."""
        return Failure(self.trial(failure.trial), "A trial", REASON)

    def trial(self, name: str) -> str:
        """Return the name of a trial in the copy."""
        return self.keyed(name)[:16]

    def keyed(self, digest: str) -> str:
        """Return the keyed hash of a hash, 64 hexadecimal digits, or an empty string for an empty one."""
        return hmac.new(self._key, digest.encode(), hashlib.sha256).hexdigest() if digest else ""

    def _identity(self, identity: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for key, value in identity.items():
            if key.endswith("sha256") and not key.endswith(MODEL_KEY):
                value = "" if key.endswith(DATA_KEY) else self.keyed(str(value))
            found[key] = _setting(key, value)
        return found

    def _configuration(self, yaml: str) -> str:
        """Return the audit files without what is private in them; a file that cannot be read is left out."""
        if not yaml:
            return ""
        try:
            files = [parse_yaml(part, "configuration") or {} for part in re.split(r"(?m)^---\n", yaml)]
            return "---\n".join(write_yaml({key: self._section(key, file[key]) for key in file}) for file in files)
        except (AuditError, TypeError):
            return f"{REMOVED}\n"

    def _section(self, key: str, entry: Any) -> Any:
        if key in SWEPT and isinstance(entry, Mapping):
            return {name: [self._value(name, value) for value in values] for name, values in entry.items()}
        return _setting(key, entry)

    def _value(self, key: str, value: Any) -> Any:
        """Return a value of a grid; a removed one becomes a word of its own, so that its cell remains apart."""
        if _setting(key, value) == value:
            return value
        number = sum(name == key for name, _ in self._tokens) + 1
        return self._tokens.setdefault((key, canonical(value)), f"{REMOVED} {number}")


def _within(key: str) -> tuple[str, str]:
    """Return the section and the rest of a dotted key of an audit file; `0: data.path` is one of client 0."""
    section, _, rest = re.sub(r"^\d+: ", "", key).partition(".")
    return section, rest


def _about_data(key: str) -> bool:
    return _within(key)[0] in ABOUT_DATA


def _setting(key: str, value: Any) -> Any:
    """Return the value of a dotted key of an audit file without paths, and without all text if it is on data."""
    section, rest = _within(key)
    if section in ABOUT_DATA:
        entry = rest.rpartition(".")[2].isdigit()  # one entry of a list
        return REMOVED if entry else _data(rest, value, nested="." in rest)
    if isinstance(value, Mapping):
        return {name: _setting(f"{key}.{name}", entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_setting(key, entry) for entry in value)
    return _text(value) if isinstance(value, str) else value


def _data(key: str, value: Any, *, nested: bool) -> Any:
    """Return a value of a section on data: numbers stay, text and lists go; so do keys that the user chose."""
    if isinstance(value, Mapping):
        chosen = nested or bool(key)  # the keys of the section itself are those of this package
        named = [(f"{REMOVED} {i}" if chosen else name, name, entry) for i, (name, entry) in enumerate(value.items())]
        return {shown: _data(name, entry, nested=chosen) for shown, name, entry in named}
    if isinstance(value, (list, tuple)) and value:
        return REMOVED
    return REMOVED if isinstance(value, str) and (nested or key not in PUBLIC_KEYS) else value


def _texts(key: str, value: Any) -> list[str]:
    """Return every text in a value of a section on data that the copy does not hold."""
    if isinstance(value, Mapping):
        return [text for name, entry in value.items() for text in (str(name), *_texts(f"{key}.{name}", entry))]
    if isinstance(value, (list, tuple)):
        return [text for entry in value for text in _texts(f"{key}.", entry)]
    return [value] if isinstance(value, str) and _within(key)[1] not in PUBLIC_KEYS else []


def _text(value: str) -> str:
    """Return a text, unless it is a path; of a file with code the name remains."""
    if CODE.search(value):
        return _code(value)
    if "(" in value:  # the `repr` of an attack or a client
        return _quoted(value)
    return f"{REMOVED} path" if re.search(r"[/\\]", value) and not value.startswith("10.") else value


def _code(name: str) -> str:
    """Return `file.py:NAME` without its folder; any other name is unchanged."""
    found = CODE.search(name)
    return found.group() if found else name


def _quoted(value: str, *kept: str) -> str:
    """Return a `repr` without quoted paths."""

    def cleared(found: re.Match[str]) -> str:
        text = found.group()[1:-1]
        return found.group() if text in kept else f"{found.group()[0]}{_text(text)}{found.group()[-1]}"

    return QUOTED.sub(cleared, value)


def _protection(found: Protection | None) -> Protection | None:
    """Return the figures on the defenses, whose names lose their paths; the sentences are those of this package."""
    if found is None:
        return None
    effects = tuple(
        replace(one, defense=_pathless(one.defense), why_not=_told(one.why_not, BEFORE_UPDATE)) for one in found.effects
    )
    why_not = _told(found.why_not, *REASONS_WITHOUT_NOISE)
    return replace(found, effects=effects, unknown=_told(found.unknown, CAPTURED), why_not=why_not)


def _told(text: str, *known: str) -> str:
    """Return a sentence if it is a known one."""
    return text if not text or text in known else REASON


def _reason(text: str) -> str:
    if not text:
        return ""
    found = next((match for one in REASONS if (match := re.search(one, text))), None)
    return f"{found.group()}." if found else REASON


def _scores(scores: Scores) -> Scores:
    """Return scores whose reasons for missing metrics name no files."""
    return replace(scores, why_not={name: _pathless(text) for name, text in scores.why_not.items()})


def _pathless(text: str) -> str:
    """Return a sentence without the words that are paths."""
    return re.sub(r"\S*[/\\]\S*", REMOVED, text)


def _left_out(count: int, noun: str) -> str:
    verb = "is" if count == 1 else "are"
    return f"{count} {noun}{'' if count == 1 else 's'} of the original {verb} left out of this redacted copy."
