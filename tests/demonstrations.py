"""Demonstrations with private data: a client, a batch and a control for the small case that an attack names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from conftest import linear_net, make_batch, smooth_net
from gradaudit import Batch, Client, Knowledge, Reconstruction
from gradaudit.attacks import Demonstration
from gradaudit.client.multimodal import MultiModalBatch, MultiModalClient
from gradaudit.data.modalities import ImageHandling, TableHandling, TextHandling
from gradaudit.data.sources.table_files import Tables
from gradaudit.inversion.run.refusal import modality_of
from gradaudit.models import build, build_table, build_text
from gradaudit.models.text_cnn import TextCNN
from gradaudit.values.types import Modality
from text_cases import DECODED, ENCODED, FlatText, public_texts, texts

HANDLINGS = {Modality.PICTURES: ImageHandling(), Modality.TEXT: TextHandling(), Modality.TABLE: TableHandling()}
MEASURES = {Modality.PICTURES: "psnr", Modality.TEXT: "token_accuracy", Modality.TABLE: "cell_accuracy"}
CLASSES = 5


@cache
def people():
    return Tables().open()


def modality(case: Demonstration) -> Modality:
    return modality_of(getattr(case.attack, "student", case.attack)) or Modality.PICTURES


def pictures(case: Demonstration, seed: int) -> tuple[Batch, Tensor, Batch]:
    """Uniform noise, of which grey is the best guess, or images of the attack's own generator; in float64."""
    channels = 3 if case.network.startswith("vit") else 1
    batch = make_batch(case.examples, channels, case.size, CLASSES, seed)
    stages = getattr(case.attack, "stages", ())
    made_by = getattr(stages[0].parametrisation, "generator", None) if stages else None
    inputs = batch.inputs if made_by is None else generated(made_by, case.examples, seed)
    batch = Batch(inputs.double(), batch.labels)
    public = torch.rand(256, channels, case.size, case.size, generator=torch.Generator().manual_seed(100 + seed))
    return batch, torch.full_like(batch.inputs, 0.5), Batch(public, torch.arange(256) % CLASSES)


def generated(made_by, examples, seed):
    """Images of a generator without classes."""
    generator = torch.Generator().manual_seed(1_000 + seed)
    network = made_by.open()[0]
    return network(torch.randn(examples, network.latent, generator=generator))


def words(case: Demonstration, seed: int) -> tuple[Batch, Tensor, Batch]:
    """Words that follow one another as in the public texts; the control is words from elsewhere in the vocabulary."""
    layout = ENCODED if case.network in ("flat-text", "tiny-bert") else DECODED
    rows = [[3 + (12 * seed + 9 * i + k) % (layout.size - 3) for k in range(5)] for i in range(case.examples)]
    public = public_texts(layout)
    batch = texts(rows, layout)
    free = ~torch.isin(batch.inputs, torch.tensor(layout.special))
    elsewhere = 3 + (batch.inputs - 3 + layout.size // 2) % (layout.size - 3)
    return batch, torch.where(free, elsewhere, batch.inputs), public


def rows(case: Demonstration, seed: int) -> tuple[Batch, Tensor, Batch]:
    """Invented people; the control is the commonest of every column."""
    picked = torch.randperm(len(people()), generator=torch.Generator().manual_seed(seed)).tolist()
    mine, others = picked[: case.examples], picked[case.examples : 100]
    batch, public = (TableHandling().gather(people(), i, people().labels[i]) for i in (mine, others))
    return batch, people().common_except(mine).expand_as(batch.inputs), public


EXAMPLES = {Modality.PICTURES: pictures, Modality.TEXT: words, Modality.TABLE: rows}


def network(case: Demonstration, batch: Batch, seed: int) -> nn.Module:
    """The network that a demonstration names, with the weights of a seed."""
    torch.manual_seed(seed)
    if batch.modality is Modality.TEXT:
        if case.network == "flat-text":
            return FlatText(batch.inputs.shape[1])
        model = build_text(case.network, num_classes=2, layout=batch.text, length=batch.inputs.shape[1])
    elif batch.modality is Modality.TABLE:
        model = build_table(case.network, num_classes=2, features=batch.inputs.shape[1])
    else:
        channels, size = batch.inputs.shape[1], case.size
        if case.network == "linear":
            model = linear_net(CLASSES, channels * size**2)
        elif case.network == "smooth":
            model = smooth_net(CLASSES, channels, size)
        elif case.network == "text-cnn":
            model = TextCNN(CLASSES, size)
        elif case.network == "short-resnet":  # a quarter of the work of a ResNet-18
            model = short_resnet(channels)
        else:
            model = build(case.network, num_classes=CLASSES, channels=channels, size=size)
        model = model.double()
    return model.eval()


def short_resnet(channels: int) -> nn.Module:
    """torchvision's ResNet with one basic block in each stage."""
    model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=CLASSES)
    model.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    return model


@dataclass
class Case:
    """A demonstration with private data of one seed."""

    shown: Demonstration
    client: Client | MultiModalClient
    batch: Any
    control: Tensor
    public: Batch

    @property
    def attack(self):
        return self.shown.attack

    def share(self, facts: Knowledge | None = None):
        """What the adversary sees; by default all that the demonstration grants."""
        facts = self.attack.needs | self.shown.facts if facts is None else facts
        if isinstance(self.client, MultiModalClient):
            return self.client.share(self.batch, facts)
        return self.client.share(self.batch, facts, public=self.public)

    def gain(self, found) -> float:
        """How much larger the measure is than that of the control."""
        if isinstance(found, tuple):
            both = zip(found, (self.batch.text, self.batch.pictures), strict=True)
            return min(self._gain(one, Batch(inputs, self.batch.labels)) for one, inputs in both)
        return self._gain(found, self.batch)

    def _gain(self, found: Reconstruction, batch: Batch) -> float:
        handling = HANDLINGS[batch.modality]
        control = torch.full_like(batch.inputs, 0.5) if batch.modality is Modality.PICTURES else self.control
        blind = Reconstruction(control, None, 0.0)
        guess, blind = (self._measure(batch, handling.match(batch, one).inputs) for one in (found, blind))
        return guess - blind

    def _measure(self, batch: Batch, inputs: Tensor) -> float:
        score = HANDLINGS[batch.modality].score(batch, inputs)
        return score[self.shown.measure or MEASURES[batch.modality]].mean


def case_of(shown: Demonstration, seed: int, defenses=()) -> Case:
    """A client of the demonstration's network and training, with private data of this seed."""
    if getattr(shown.attack, "updates", 1) == 2:
        return pair(shown, seed, defenses)
    batch, control, public = EXAMPLES[modality(shown)](shown, seed)
    client = Client(network(shown, batch, seed), shown.training, defenses=defenses)
    return Case(shown, client, batch, control, public)


def pair(shown: Demonstration, seed: int, defenses=()) -> Case:
    """Two networks on the same examples, once as text and once as pictures."""
    (picture, control, public), (text, _, _) = (pictures(shown, seed + k) for k in (0, 1000))
    batch = MultiModalBatch(picture.inputs, text.inputs, picture.labels)
    teacher = Client(network(shown, text, seed), defenses=defenses)
    student = Client(network(shown, picture, seed + 1), shown.training, defenses=defenses)
    return Case(shown, MultiModalClient(teacher, student), batch, control, public)
