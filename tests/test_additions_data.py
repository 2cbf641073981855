"""What another package adds through entry points is listed and usable by an audit file, with no other edit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gradaudit

POINTS = """
[gradaudit.metrics]
worst_pixel = ga_metric:WORST
wave_error = ga_waves:WAVE_ERROR
[gradaudit.sources]
stripes = ga_source:Stripes
waves = ga_waves:Waves
[gradaudit.models]
one-layer = ga_model:MODEL
wave-layer = ga_waves:WAVE_LAYER
[gradaudit.losses]
hinge = ga_loss:Hinge
[gradaudit.modalities]
waves = ga_waves:WaveHandling
"""
FILES = {
    "ga_metric.py": """
from gradaudit.metrics import Metric
from gradaudit.values.types import Modality


def worst(compared):
    return (compared.guess - compared.truth).abs().flatten(1).amax(1)


MEANING = "The largest error of a pixel."
WORST = Metric("worst_pixel", "worst pixel", "", False, MEANING, "doi:10/x", Modality.PICTURES, worst)
""",
    "ga_source.py": '''
from dataclasses import dataclass

import torch
from gradaudit.data.sources import Source


@dataclass(frozen=True)
class Stripes:
    """Striped pictures."""

    count: int = 6

    def open(self):
        """All of them."""
        pictures = [(torch.arange(64.0).view(1, 8, 8) * (i + 1) / 64) % 1 for i in range(self.count)]
        return Source("stripes", f"{self.count} stripes", pictures, torch.arange(self.count) % 2)
''',
    "ga_model.py": '''
from gradaudit.models import NamedModel
from gradaudit.values.types import Modality
from torch import nn


def one_layer(num_classes, channels, size):
    """One linear layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, num_classes))


MODEL = NamedModel("one-layer", Modality.PICTURES, one_layer)
''',
    "ga_loss.py": '''
from dataclasses import dataclass

from gradaudit.protocol.local_training.losses import ClassLoss
from torch.nn.functional import multi_margin_loss


@dataclass(frozen=True)
class Hinge(ClassLoss):
    """Multi-class hinge loss."""

    margin: float = 1.0

    def __call__(self, output, labels):
        return multi_margin_loss(output, labels, margin=self.margin)
''',
    "ga_waves.py": '''
from dataclasses import dataclass
from typing import ClassVar

import torch
from gradaudit import Batch
from gradaudit.data.modalities import Handling
from gradaudit.metrics import Metric
from gradaudit.models import NamedModel
from gradaudit.values.errors import AuditError
from gradaudit.values.measures import Measure
from gradaudit.values.types import Modality
from torch import nn

WAVES = Modality("waves")


@dataclass(frozen=True, eq=False)
class WaveSource:
    modality: ClassVar[Modality] = WAVES
    waves: torch.Tensor
    name: str = "waves"
    description: str = "drawn waves"
    labels: torch.Tensor | None = None
    class_names: tuple[str, ...] = ("low", "high")
    attribution: str = ""

    def __len__(self):
        return len(self.waves)

    @property
    def shape(self):
        return tuple(self.waves.shape[1:])

    def fingerprint(self):
        return str(float(self.waves.sum()))


@dataclass(frozen=True)
class Waves:
    """Drawn waves."""

    length: int = 6

    def open(self):
        """Eight of them."""
        waves = torch.rand(8, self.length, generator=torch.Generator().manual_seed(0))
        return WaveSource(waves, labels=torch.arange(8) % 2)


def wave_layer(num_classes, length):
    """One linear layer over a wave."""
    return nn.Linear(length, num_classes)


def error(compared):
    return 1 - (compared.guess - compared.truth).abs().mean(1)


WAVE_LAYER = NamedModel("wave-layer", WAVES, wave_layer)
WAVE_ERROR = Metric(
    "wave_error", "wave closeness", "", True, "One minus the mean error.", "doi:10/y", WAVES, error,
    Measure("wave_error", "wave closeness", "wave", "%", "points", 100, 0, 0.05, 0.9, 0.05, 0.99),
)


@dataclass(frozen=True)
class WaveHandling(Handling):
    modality = WAVES
    rule = "A wave counts as recovered where it is close. The control is the mean wave."

    def gather(self, source, indices, labels):
        return Batch(source.waves[indices], labels, WAVES)

    def control(self, source, batch, indices):
        return source.waves.mean(0), ()

    def check(self, batch, model, name):
        if batch.inputs.ndim != 2:
            raise AuditError("batch: needs waves [B, L].")

    def check_public(self, public, batch):
        pass
''',
    "own.py": '''
"""Reads the input of a linear layer off its gradient: a row of the weight's over the bias's."""

from gradaudit import Knowledge, Reconstruction


class Rows:
    name, needs = "rows", Knowledge.NOTHING

    def __call__(self, seen, *, seed=0, watch=None):
        weight, bias = seen.update.values
        row = bias.abs().argmax()
        return Reconstruction((weight[row] / bias[row]).view(1, *seen.input_shape), None, 0.0)

    def __repr__(self):
        return "Rows()"


ATTACK = Rows()
''',
    "pictures.yaml": """
data: {source: stripes, count: 5}
model: {name: one-layer, mean: [0.0], std: [1.0]}
training: {loss: {name: hinge, margin: 2.0}}
attacks: [own.py:ATTACK]
knowledge: [basic]
""",
    "waves.yaml": """
data: {source: waves}
model: {name: wave-layer}
attacks: [own.py:ATTACK]
knowledge: [basic]
""",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with an installed package of its own."""
    folder = tmp_path_factory.mktemp("site")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    info = folder / "ga_additions-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ga-additions\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    return folder


LISTED = {
    "metrics": (["worst_pixel", "wave_error"], "The largest error of a pixel."),
    "sources": (["stripes", "waves"], "Striped pictures."),
    "models": (["one-layer", "wave-layer"], "One linear layer over a wave."),
    "losses": (["hinge"], "Multi-class hinge loss."),
}
AUDITS = {name: f"audit {name}.yaml --out {name}-run" for name in ("pictures", "waves")}
WITHOUT_A_FILE = """
import torch, gradaudit as ga
batch = ga.Batch(torch.rand(1, 6), torch.tensor([0]), ga.values.types.Modality("waves"))
try:
    ga.run(ga.Client(torch.nn.Linear(6, 2)), batch, "own.py:ATTACK", "priors")
except ga.AuditError as error:
    print(error)
"""
PROGRAM = f"""
import sys
from gradaudit.commands.cli import main
for line in {[*LISTED, *AUDITS.values()]}:
    sys.argv = ["gradaudit", *line.split()]
    status = 0
    print("##", line, flush=True)
    try:
        main()
    except SystemExit as stop:
        status = stop.code or 0
    print(status, flush=True)
print("## without a file")
{WITHOUT_A_FILE}
print(0)
"""


@pytest.fixture(scope="module")
def said(site):
    """What each command prints, and its exit status; all of them in one process, in which warnings are errors."""
    paths = [str(site), str(Path(gradaudit.__file__).parents[1])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    call = [sys.executable, "-W", "error::gradaudit.values.errors.AuditWarning", "-c", PROGRAM]
    done = subprocess.run(call, cwd=site, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    parts = (part.partition("\n") for part in done.stdout.split("## ")[1:])
    return {line: (text.rstrip().rpartition("\n")[0], int(text.split()[-1])) for line, _, text in parts}


@pytest.mark.parametrize("listing", LISTED)
def test_additions_are_listed(said, listing):
    names, words = LISTED[listing]
    text, status = said[listing]
    assert status == 0, text
    assert set(names) <= {line.split()[0] for line in text.splitlines() if line.strip()}
    assert words in text


@pytest.mark.parametrize(
    ("name", "metrics", "shown"),
    [
        ("pictures", ["psnr", "worst_pixel"], ["worst pixel", "1 of 1 image", "Hinge(margin=2.0)"]),
        ("waves", ["wave_error"], ["wave closeness", "1 of 1 wave", "A wave counts as recovered"]),
    ],
)
def test_an_audit_takes_what_was_added(site, said, name, metrics, shown):
    text, status = said[AUDITS[name]]
    assert status != 1, text
    finding = json.loads((site / f"{name}-run" / "results.jsonl").read_text().splitlines()[-1])
    assert not finding["cannot_judge"], text
    for metric in metrics:
        assert finding["scores"][metric]["mean"] is not None
    page = (site / f"{name}-run" / "report.html").read_text()
    for words in shown:
        assert words in page


def test_a_modality_that_nobody_handles_is_said():
    from gradaudit.data.modalities import kind_of
    from gradaudit.values.errors import AuditError
    from gradaudit.values.types import Modality

    with pytest.raises(AuditError, match=r"no installed package handles smell\. Known: pictures, table, text\."):
        kind_of(Modality("smell"))


def test_a_modality_has_one_value_for_each_name():
    import copy
    import pickle

    from gradaudit.values.types import Modality

    assert Modality("pictures") is Modality.PICTURES
    for same in (copy.deepcopy(Modality.TEXT), pickle.loads(pickle.dumps(Modality.TEXT))):
        assert same is Modality.TEXT
    assert json.dumps([Modality.TABLE]) == '["table"]'


def test_a_modality_that_makes_no_source_is_audited_with_a_file(said):
    """Rather than against a control that nobody chose."""
    assert said["without a file"][0].strip() == "batches: waves can only be audited with an audit file."
