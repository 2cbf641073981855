"""Tokenizers: whole words of the texts, BERT's word pieces, GPT-2's byte pairs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from ..values.errors import AuditError, guarded
from ..values.files import is_file
from ..values.types import TextLayout
from .row_files import read_text

PADDING, UNKNOWN = "[PAD]", "[UNK]"
WORD = re.compile(r"\w+(?:'\w+)?|[^\w\s]")
NO_BLANK_BEFORE = set(".,;:!?)]}%'’")
MERGES = ("vocab.bpe", "merges.txt")


class Vocabulary(Protocol):
    """The interface of a tokenizer."""

    @property
    def layout(self) -> TextLayout:
        """The public facts about the tokenizer."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text, with opening and closing markers, without padding."""
        ...

    def pieces(self, ids: list[int]) -> list[str]:
        """Return one string per id, with a leading blank at the start of a word; joined, they are the text."""
        ...


@dataclass(frozen=True)
class Words:
    """A tokenizer of whole words and punctuation marks, which needs no file.

    Args:
        words: Id -> word; the first two are padding and the unknown word.
        lowercase: Whether texts are lower-cased.
    """

    words: tuple[str, ...]
    lowercase: bool = True

    @classmethod
    def of(cls, texts: Iterable[str], *, lowercase: bool = True) -> Words:
        """Return a tokenizer for every word of `texts`, in alphabetical order."""
        found = {word for text in texts for word in _words(text, lowercase)}
        return cls((PADDING, UNKNOWN, *sorted(found)), lowercase)

    @cached_property
    def layout(self) -> TextLayout:
        """The layout: padding is 0, and there are no markers."""
        return TextLayout(len(self.words))

    def encode(self, text: str) -> list[int]:
        """Return one id per word or mark, and 1 for an unknown word."""
        return [self._ids.get(word, 1) for word in _words(text, self.lowercase)]

    def pieces(self, ids: list[int]) -> list[str]:
        """Return the words."""
        return [_spaced(self.words[i]) for i in ids]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}


@dataclass(frozen=True)
class WordPieces:
    """BERT's tokenizer (Devlin et al., 2019) from its `vocab.txt`, by the `tokenizers` library.

    Args:
        path: File with one piece per line, including `[PAD]`, `[UNK]`, `[CLS]` and `[SEP]`.
        lowercase: Whether the vocabulary is uncased.
    """

    path: Path
    lowercase: bool = True

    @cached_property
    def layout(self) -> TextLayout:
        """The layout: every text begins with `[CLS]` and ends with `[SEP]`."""
        ids = [self._tokenizer.token_to_id(marker) for marker in (PADDING, "[CLS]", "[SEP]")]
        return TextLayout(self._tokenizer.get_vocab_size(), ids[0], (ids[1],), (ids[2],))

    def encode(self, text: str) -> list[int]:
        """Return the ids with `[CLS]` and `[SEP]`."""
        return self._tokenizer.encode(text).ids

    def pieces(self, ids: list[int]) -> list[str]:
        """Return the pieces, without the prefix `##` of continuations."""
        tokens = [self._tokenizer.id_to_token(i) or UNKNOWN for i in ids]
        return [token[2:] if token.startswith("##") else _spaced(token) for token in tokens]

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizers = _library()
        pieces = _read(self.path).removesuffix("\n").split("\n")
        missing = {PADDING, UNKNOWN, "[CLS]", "[SEP]"} - set(pieces)
        if missing:
            raise AuditError(f"tokenizer: {self.path} is no BERT vocabulary; it lacks {', '.join(sorted(missing))}.")
        with guarded(f"tokenizer: {self.path}"):
            found = tokenizers.BertWordPieceTokenizer(str(self.path), lowercase=self.lowercase)
        return _numbered(found, self.path)


@dataclass(frozen=True)
class BytePairs:
    """GPT-2's tokenizer (Radford et al., 2019) from `encoder.json` and `vocab.bpe`, by the `tokenizers` library.

    Args:
        path: `encoder.json`: token -> id.
        merges: `vocab.bpe`: one merge per line.
    """

    path: Path
    merges: Path

    @cached_property
    def layout(self) -> TextLayout:
        """The layout: no markers; `<|endoftext|>` is the padding, because GPT-2 has no padding token."""
        size = self._tokenizer.get_vocab_size()
        end = self._tokenizer.token_to_id("<|endoftext|>")
        return TextLayout(size, size - 1 if end is None else end)

    def encode(self, text: str) -> list[int]:
        """Return the ids of the byte pairs."""
        return self._tokenizer.encode(text).ids

    def pieces(self, ids: list[int]) -> list[str]:
        """Return the tokens; bytes that are not a whole character become a replacement character."""
        return [self._tokenizer.decode([i], skip_special_tokens=False) for i in ids]

    @cached_property
    def _tokenizer(self) -> Any:
        tokenizers = _library()
        text, _ = _read(self.path), _read(self.merges)
        with guarded(f"tokenizer: {self.path} and {self.merges} are no vocabulary of GPT-2"):
            ids = json.loads(text)
            if not isinstance(ids, dict) or not all(type(number) is int for number in ids.values()):
                raise AuditError(f"tokenizer: {self.path} is no vocabulary of GPT-2: a number for each token.")
            found = tokenizers.ByteLevelBPETokenizer(str(self.path), str(self.merges))
        return _numbered(found, self.path)


def open_vocabulary(path: Path, merges: Path | None = None, *, lowercase: bool = True) -> Vocabulary:
    """Return the tokenizer of a file: BERT's for a `.txt`, GPT-2's for a `.json` with its merges.

    Args:
        path: The vocabulary.
        merges: GPT-2's second file; by default `vocab.bpe` or `merges.txt` in the same folder.
        lowercase: Whether a BERT vocabulary is uncased.

    Raises:
        AuditError: The file does not exist or has another kind, or `tokenizers` is not installed.
    """
    if path.suffix == ".json":
        beside = [path.with_name(name) for name in MERGES if is_file(path.with_name(name))]
        if merges is None and not beside:
            raise AuditError(f"tokenizer: {path} needs its merges: give merges, or put {MERGES[0]} beside it.")
        found: BytePairs | WordPieces = BytePairs(path, merges or beside[0])
    elif path.suffix == ".txt":
        found = WordPieces(path, lowercase)
    else:
        raise AuditError(f"tokenizer: {path} must be BERT's vocab.txt or GPT-2's encoder.json.")
    _ = found.layout  # read the files now, so that errors occur before anything runs
    return found


def _words(text: str, lowercase: bool) -> list[str]:
    return WORD.findall(text.lower() if lowercase else text)


def _spaced(token: str) -> str:
    return token if token in NO_BLANK_BEFORE else f" {token}"


def _read(path: Path) -> str:
    """Return the text of a vocabulary file. Raise `AuditError` if it does not exist."""
    if not is_file(path):
        raise AuditError(f"tokenizer: no file at {path} (paths are relative to the audit file).")
    return read_text(path, "tokenizer")


def _numbered(tokenizer: Any, path: Path) -> Any:
    """Return the tokenizer. Raise `AuditError` if its ids are not 0, 1, 2, ..., one for each token."""
    ids = sorted(tokenizer.get_vocab().values())
    wrong = next((place for place, number in enumerate(ids) if place != number), None)
    if not ids or wrong is not None:
        found = f"no token has the id {wrong}, or two have" if ids else "it is empty"
        raise AuditError(f"tokenizer: {path} is damaged: {found}. Take the file that the model was built for.")
    return tokenizer


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise AuditError(
            "tokenizer: a vocabulary file needs the package tokenizers. Install it: pip install 'gradaudit[text]', or "
            "leave tokenizer out for whole words."
        ) from error
    return tokenizers
