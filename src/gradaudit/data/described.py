"""Images with a sentence each: the built-in photographs, and data sets from files of the user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ..values.errors import AuditError
from .archives import read_arrays
from .sources._source import Source
from .sources.npz import Npz
from .sources.photographs import Photographs
from .word_vectors import WordVectors, learn_word_vectors, words_of

LONGEST = 10  # number of words of a caption that are used
CORPORA = ("wikitext2.txt", "flickr8k_captions.tsv")
"""Files of further text for the word vectors, used if they are in the folder."""


@dataclass(frozen=True, eq=False)
class Described:
    """Images, each with a sentence and one label for both.

    Args:
        source: The images.
        sentences: One per image, lower-case letters and spaces.
        labels: `[N]` integers.
        classes: Number of classes, K.
        vectors: Vectors of all words, and of further words if the folder contains text.
    """

    source: Source
    sentences: tuple[str, ...]
    labels: Tensor
    classes: int
    vectors: WordVectors


PHOTOGRAPHS = {
    "astronaut": "a woman in an orange suit",
    "chelsea": "a tabby cat looks away",
    "coffee": "a cup of coffee on wood",
    "rocket": "a rocket leaves the launch pad",
    "hubble_deep_field": "many distant galaxies in black space",
    "retina": "the inside of an eye",
    "camera": "a man behind a film camera",
    "brick": "a wall of old bricks",
    "grass": "a dense green summer lawn",
    "gravel": "small grey stones on ground",
    "china": "a temple roof in china",
    "flower": "a bright red dahlia flower",
}
GARMENTS = (
    "a plain shirt with short sleeves",
    "a pair of long trousers",
    "a warm sweater for winter",
    "a dress that reaches the knees",
    "a heavy coat with buttons",
    "a light sandal with straps",
    "a shirt with a collar",
    "a sneaker with rubber sole",
    "a bag with two handles",
    "a boot above the ankle",
)
FLOWERS = {
    "bluebell": "blue bells on a stem",
    "buttercup": "a shiny yellow cup flower",
    "colts-foot": "a yellow flower without leaves",
    "daisy": "white petals around yellow centre",
    "dandelion": "a round yellow meadow flower",
    "fritillary": "a purple flower with checks",
    "iris": "a violet flower with tongues",
    "lily-valley": "tiny white bells in spring",
    "pansy": "a flower with dark face",
    "sunflower": "a tall flower with seeds",
    "tigerlily": "orange petals with black spots",
    "windflower": "a pale flower among trees",
}


def described(name: str, folder: Path | None = None) -> Described:
    """Return one of the data sets in `DESCRIBED`.

    Args:
        name: Key of the table.
        folder: Folder of the files; not needed for the built-in photographs.

    Raises:
        AuditError: The name is unknown, or a file is missing or damaged.
    """
    why = missing(name, folder)
    if why:
        raise AuditError(why)
    return _opened(name, folder)


def missing(name: str, folder: Path | None) -> str | None:
    """Return why a data set cannot be opened, or `None`. Raise `AuditError` for an unknown name."""
    if name not in DESCRIBED:
        raise AuditError(f"described pictures: no set {name!r}. Known: {', '.join(DESCRIBED)}.")
    file = DESCRIBED[name][0]
    if not file:
        return None
    if folder is None or not folder.is_dir():
        return f"needs --data FOLDER with {file}"
    return None if (folder / file).is_file() else f"no {file} in {folder.name}"


@lru_cache(maxsize=8)
def _opened(name: str, folder: Path | None) -> Described:
    file, read = DESCRIBED[name]
    source, sentences, labels, classes = read(folder / file if folder else Path())
    clean = tuple(" ".join(words_of(sentence)[:LONGEST]) for sentence in sentences)
    return Described(source, clean, labels, classes, learn_word_vectors(clean, _corpus(folder) if file else ()))


def _corpus(folder: Path | None) -> list[str]:
    found = [folder / name for name in CORPORA if folder is not None and (folder / name).is_file()]
    lines = (line for path in found for line in path.read_text(encoding="utf-8").splitlines())
    return [line.rpartition("\t")[2] for line in lines]


DescribedParts = tuple[Source, list[str], Tensor, int]


def _photographs(path: Path) -> DescribedParts:
    source = Photographs(size=32, crops="whole").open()
    labels = torch.arange(len(source)) % 10
    return source, [PHOTOGRAPHS[name] for name in source.picture_names], labels, 10


def _by_class(sentence: Callable[[int, str], str], size: int | None = None) -> Callable[[Path], DescribedParts]:
    """Return a reader of labelled images whose sentence follows from the class."""

    def read(path: Path) -> DescribedParts:
        source = Npz(path, size).open()
        if source.labels is None or not source.class_names:
            raise AuditError(f"{path.name}: needs labels and class_names to describe the pictures.")
        try:
            sentences = [sentence(label, source.class_names[label]) for label in source.labels.tolist()]
        except LookupError as error:
            raise AuditError(f"{path.name}: has the class {error}, for which there is no sentence.") from error
        return source, sentences, source.labels, len(source.class_names)

    return read


def _captioned(path: Path) -> DescribedParts:
    source = Npz(path, 32).open()
    arrays, _ = read_arrays(path, ("captions",), "described pictures")
    if "captions" not in arrays:
        raise AuditError(f"{path.name}: has no array named captions.")
    captions = arrays["captions"]
    if captions.dtype.kind != "U" or captions.ndim not in (1, 2) or len(captions) != len(source):
        found = f"{captions.dtype} {list(captions.shape)}"
        raise AuditError(f"{path.name}: captions must be text [N] or [N, captions each], one per image. Found {found}.")
    first = [str(row[0]) if captions.ndim == 2 else str(row) for row in captions]
    return source, first, torch.arange(len(source)) % 10, 10


DESCRIBED: dict[str, tuple[str, Callable[[Path], DescribedParts]]] = {
    "photographs": ("", _photographs),
    "cifar100": ("cifar100_train.npz", _by_class(lambda _, name: f"a {name.replace('_', ' ')} in the image")),
    "fashion-mnist": ("fashion_mnist_train.npz", _by_class(lambda label, _: GARMENTS[label])),
    "flowers": ("flowers_128.npz", _by_class(lambda _, name: FLOWERS[name], 32)),
    "flickr8k": ("flickr8k_captioned_128.npz", _captioned),
}
"""Name -> (file in the folder, or an empty string; its reader). CIFAR-100's sentences are those of MGIA's code. Those
of Fashion-MNIST, the flowers and the photographs were written for this package, one per class or photograph. Flickr8k
has captions, of which the first is used, and no classes: its labels, and those of the photographs, are the index of the
image modulo ten."""
