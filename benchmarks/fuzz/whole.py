"""The small valid files that are mutated, created once in a process and copied for each input."""

from __future__ import annotations

import io
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from torch import Tensor, nn

NET = """
from torch import nn

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Sigmoid(), nn.Linear(4, 3))

def rows():
    return nn.Sequential(nn.Linear({features}, 4), nn.Sigmoid(), nn.Linear(4, 2))

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.token_embedding, self.fc = nn.Embedding(64, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.fc((x if x.is_floating_point() else self.token_embedding(x)).sigmoid().mean(1))
"""
ATTACK = {"name": "inverting-gradients", "set": {"stages.0.steps": 1, "seeds": 1}}
WORDS = ("a b c d", "the cat sat here", "dogs bark at night", "we went home", "rain fell all day", "it was a good one")


def config(**changes: Any) -> dict[str, Any]:
    """Return an audit of one 8 x 8 image with one step."""
    return {
        "data": {"source": "npz", "path": "p.npz", "batch_size": 1},
        "model": {"factory": "net.py:net"},
        "knowledge": ["priors", "LABELS"],
        "attacks": [ATTACK],
        **changes,
    }


def audit_file(folder: Path, raw: Any) -> Path:
    """Write any value as YAML."""
    path = folder / "a.yaml"
    path.write_bytes(yaml.safe_dump(raw, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass"))
    return path


def network() -> nn.Module:
    """Return the network of `net.py:net`, with its own weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Sigmoid(), nn.Linear(4, 3))


@cache
def weights() -> dict[str, Tensor]:
    """Return the weights of that network."""
    return {name: value.detach() for name, value in network().state_dict().items()}


@cache
def gradient() -> dict[str, Tensor]:
    """Return the gradient of that network for one image."""
    model = network()
    picture = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    loss = nn.functional.cross_entropy(model(picture), torch.tensor([1]))
    names = [name for name, _ in model.named_parameters()]
    return dict(zip(names, torch.autograd.grad(loss, list(model.parameters())), strict=True))


@cache
def pixels() -> np.ndarray:
    """Return six grey 8-bit images `[6, 8, 8]`."""
    return np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)


def arrays() -> dict[str, Any]:
    """Return the arrays of the archive `p.npz`."""
    return {
        "images": pixels(),
        "labels": np.array([0, 1, 2, 0, 1, 2]),
        "class_names": np.array(["a", "b", "c"]),
        "names": np.array([f"picture {i}" for i in range(6)]),
    }


def picture_files(folder: Path) -> Path:
    """Create a folder of PNG and JPEG files in three classes."""
    for number, values in enumerate(pixels()):
        place = folder / "pictures" / f"class{number % 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(place / f"{number}.{'png' if number < 4 else 'jpg'}")
    return folder / "pictures"


def csv() -> str:
    """Return a CSV of twelve rows with two numbers, a category and a class."""
    rows = [f"{20 + i},{i * 1.5},{'abc'[i % 3]},{'yes' if i % 2 else 'no'}" for i in range(12)]
    return "\n".join(["age,height,kind,label", *rows]) + "\n"


def tsv() -> str:
    """Return a TSV of six sentences with their classes."""
    return "\n".join(["sentence\tlabel", *(f"{text}\t{i % 2}" for i, text in enumerate(WORDS))]) + "\n"


def vocabulary() -> str:
    """Return a `vocab.txt` with the words of the sentences."""
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({w for text in WORDS for w in text.split()})]
    return "\n".join(known) + "\n"


@cache
def archive() -> bytes:
    """Return the bytes of `p.npz`."""
    file = io.BytesIO()
    np.savez(file, **arrays())
    return file.getvalue()


def project(folder: Path, features: int = 5) -> None:
    """Write the network and the images, which most inputs need."""
    (folder / "net.py").write_text(NET.format(features=features), encoding="utf-8")
    (folder / "p.npz").write_bytes(archive())


def copied(source: Path, target: Path) -> Path:
    """Copy a folder with all its contents."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    return target
