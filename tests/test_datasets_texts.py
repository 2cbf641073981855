"""Texts as a source: files, labels, vocabularies, the control."""

import json
from pathlib import Path

import pytest
import torch

from gradaudit.data.sources import SOURCES
from gradaudit.data.vocabulary import Words
from gradaudit.values.errors import AuditError


def write(tmp_path, text, name="t.tsv"):
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def read(vocabulary, ids):
    return "".join(vocabulary.pieces(ids)).strip()


def test_the_built_in_sentences_work_without_any_file():
    source = SOURCES["text"]().open()
    assert len(source) == 60
    assert source.labels.bincount().tolist() == [30, 30]
    assert len(set(source.texts)) == 60
    for text, ids in zip(source.texts, source.ids, strict=True):
        assert read(source.vocabulary, list(ids)) == text.lower()


def test_stacked_texts_are_padded_to_the_longest_of_them():
    source = SOURCES["text"]().open()
    inputs, lengths = source.stack([0, 3, 10])
    assert inputs.shape == (3, int(lengths.max()))
    assert inputs.dtype == torch.int64
    for row, length, i in zip(inputs, lengths.tolist(), [0, 3, 10], strict=True):
        assert tuple(row[:length].tolist()) == source.ids[i]
        assert (row[length:] == source.vocabulary.layout.padding).all()


TSV = 'label\tsentence\ngood\tA "fine" day.\nbad\tNo way!\ngood\t \n'


def test_a_table_of_sentences(tmp_path):
    source = SOURCES["text"](path=write(tmp_path, TSV)).open()
    assert source.texts == ('A "fine" day.', "No way!")  # one without a token is left out
    assert source.labels.tolist() == [1, 0]
    assert source.class_names == ("bad", "good")
    assert source.description == "2 texts of the file t.tsv (1 without a token omitted), 10 tokens"


@pytest.mark.parametrize("cell", ["", "nan"])
def test_a_text_without_its_label_is_refused(tmp_path, cell):
    path = write(tmp_path, f"label\tsentence\n1\tOne.\n\n{cell}\tTwo.\n")
    with pytest.raises(AuditError, match=r"t.tsv, line 4: has no label; label it, or remove it"):
        SOURCES["text"](path=path).open()


def test_lines_end_where_files_end_them(tmp_path):
    (tmp_path / "t.txt").write_bytes("\ufeffOne\u2028still\x0bone.\r\nTwo.".encode())
    assert SOURCES["text"](path=tmp_path / "t.txt").open().texts == ("One\u2028still\x0bone.", "Two.")


@pytest.mark.parametrize("data", [b"One.\nTwo \xe9.\n", "One.\nTwo.\n".encode("utf-16-le"), b"a\nb\0\n"])
def test_what_is_no_text_names_its_line(tmp_path, data):
    (tmp_path / "t.txt").write_bytes(data)
    with pytest.raises(AuditError, match=r"text: cannot read .*t.txt: not UTF-8 text, from line [12]; save"):
        SOURCES["text"](path=tmp_path / "t.txt").open()


def test_a_device_is_not_read():
    with pytest.raises(AuditError, match="text: cannot read /dev/zero: it is no file"):
        SOURCES["text"](path=Path("/dev/zero")).open()


def test_a_file_larger_than_the_machine_is_not_read(tmp_path, monkeypatch):
    path = write(tmp_path, "One.\n" * 100, "t.txt")
    monkeypatch.setattr("gradaudit.values.memory.memory_here", lambda: 1000)
    with pytest.raises(AuditError, match=r"t.txt would need 10 kB of memory"):
        SOURCES["text"](path=path).open()


def test_lines_have_no_labels(tmp_path):
    source = SOURCES["text"](path=write(tmp_path, "One.\n\nTwo here.\n", "t.txt")).open()
    assert source.texts == ("One.", "Two here.")
    assert source.labels is None


def test_columns_by_name_and_labels_by_their_number(tmp_path):
    path = write(tmp_path, "mark,words\n10,b c\n9,a\n", "t.csv")
    source = SOURCES["text"](path=path, text="words", label="mark").open()
    assert source.class_names == ("9", "10")
    assert source.labels.tolist() == [1, 0]


def test_words_round_trip_and_unknown_ones_are_owned_up_to():
    words = Words.of(["It's red, isn't it?"])
    assert read(words, words.encode("It's red, isn't it?")) == "it's red, isn't it?"
    assert read(words, words.encode("It's blue")) == "it's [UNK]"
    assert read(Words.of(["Red"], lowercase=False), [2]) == "Red"
    assert words.layout.padding == 0


def test_long_texts_are_cut(tmp_path):
    source = SOURCES["text"](path=write(tmp_path, "a b c d e\n", "t.txt"), max_tokens=3).open()
    assert source.shape == (3,)


def test_the_control_is_common_at_its_place_without_repetition(tmp_path):
    source = SOURCES["text"](path=write(tmp_path, "a x\na y\na a\nb a\nc c\n", "t.txt")).open()
    common = source.common_except([4], 3)
    assert read(source.vocabulary, common[:2].tolist()) == "a x"  # a leads both places; x before y by its number
    assert common[2] == source.vocabulary.layout.padding  # no other text is that long
    assert source.common_except([0, 1, 2, 3, 4], 2) is None


def test_another_vocabulary(tmp_path):
    source = SOURCES["text"](path=write(tmp_path, "a b\n", "t.txt")).open()
    other = source.read_with(Words.of(["b"]))
    assert other.ids == ((1, 2),)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"path": "gone.tsv"}, "text: cannot read .*gone.tsv: No such file"),
        ({"path": "t.tsv", "text": "phrase"}, r"text.text: .* no column 'phrase'. It has label, sentence"),
        ({"tokenizer": "gone.txt"}, "tokenizer: no file at"),
        ({"tokenizer": "t.tsv"}, "must be BERT's vocab.txt or GPT-2's encoder.json"),
        ({"tokenizer": "words.txt"}, r"is no BERT vocabulary; it lacks \[CLS\], \[PAD\], \[SEP\], \[UNK\]"),
        ({"tokenizer": "lone.json"}, "needs its merges"),
        ({"max_tokens": 0}, "max_tokens must be above 0"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, options, complaint):
    pytest.importorskip("tokenizers")
    write(tmp_path, TSV)
    write(tmp_path, "a\nb\n", "words.txt")
    write(tmp_path, "{}", "lone.json")
    given = {
        key: tmp_path / value if isinstance(value, str) and key != "text" else value for key, value in options.items()
    }
    with pytest.raises(AuditError, match=complaint):
        SOURCES["text"](**given).open()


def test_word_pieces(tmp_path):
    pytest.importorskip("tokenizers")
    vocabulary = write(
        tmp_path, "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "walk", "##ing", "."]), "v.txt"
    )
    source = SOURCES["text"](path=write(tmp_path, "Walking.\nrun\n", "t.txt"), tokenizer=vocabulary).open()
    assert source.ids == ((2, 5, 6, 7, 3), (2, 1, 3))
    assert (source.vocabulary.layout.opening, source.vocabulary.layout.closing) == ((2,), (3,))
    assert read(source.vocabulary, [5, 6, 7]) == "walking."
    cut = SOURCES["text"](path=tmp_path / "t.txt", tokenizer=vocabulary, max_tokens=4).open()
    assert cut.ids[0] == (2, 5, 6, 3)


def test_byte_pairs(tmp_path):
    pytest.importorskip("tokenizers")
    tokens = ["a", "b", "Ġ", "ab", "Ġab", "<|endoftext|>"]
    encoder = write(tmp_path, json.dumps({token: i for i, token in enumerate(tokens)}), "encoder.json")
    write(tmp_path, "#version: 0.2\na b\nĠ ab\n", "vocab.bpe")
    source = SOURCES["text"](path=write(tmp_path, "ab ab b\n", "t.txt"), tokenizer=encoder).open()
    assert source.ids == ((3, 4, 2, 1),)
    assert source.vocabulary.pieces([3, 4]) == ["ab", " ab"]
    assert source.vocabulary.layout.padding == 5


SPECIAL = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n"


@pytest.mark.parametrize(
    ("name", "content", "merges", "complaint"),
    [
        ("v.txt", f"{SPECIAL}a\na\nb\n".encode(), b"", "v.txt is damaged: no token has the id 4, or two have"),
        ("v.txt", f"{SPECIAL}\n\na\n".encode(), b"", "v.txt is damaged: no token has the id"),
        ("v.txt", SPECIAL.encode() + b"\xff\n", b"", "not UTF-8 text, from line 5"),
        ("v.json", b'{"a": 0, "b": 7}', b"", "v.json is damaged: no token has the id 1, or two have"),
        ("v.json", b'{"a": 0, "b": 0}', b"", "v.json is damaged: no token has the id 1, or two have"),
        ("v.json", b"{}", b"", "v.json is damaged: it is empty"),
        ("v.json", b'{"a": -1}', b"", "are no vocabulary of GPT-2: stopped with"),
        ("v.json", b'{"a": 0, "b": "c"}', b"", "v.json is no vocabulary of GPT-2: a number for each token"),
        ("v.json", b"[1, 2", b"", "are no vocabulary of GPT-2: stopped with"),
        ("v.json", b'{"a": 0, "b": 1}', b"a b\n", "are no vocabulary of GPT-2: stopped with"),
        ("v.json", b'{"a": 0, "b": 1}', b"a b c d\n", "are no vocabulary of GPT-2: stopped with"),
        ("v.json", b'{"a": 0}', b"\xff", "vocab.bpe: not UTF-8 text, from line 1"),
    ],
)
def test_damaged_vocabularies(tmp_path, name, content, merges, complaint):
    pytest.importorskip("tokenizers")
    (tmp_path / name).write_bytes(content)
    (tmp_path / "vocab.bpe").write_bytes(merges)
    with pytest.raises(AuditError, match=f"^tokenizer: .*{complaint}"):
        SOURCES["text"](tokenizer=tmp_path / name).open()


def test_the_end_of_text_pads_wherever_it_stands(tmp_path):
    pytest.importorskip("tokenizers")
    encoder = write(tmp_path, json.dumps({"<|endoftext|>": 0, "a": 1}), "encoder.json")
    write(tmp_path, "", "vocab.bpe")
    source = SOURCES["text"](path=write(tmp_path, "a a\n", "t.txt"), tokenizer=encoder).open()
    assert source.vocabulary.layout.padding == 0


def test_real_vocabularies(shared_data):
    pytest.importorskip("tokenizers")
    bert = SOURCES["text"](
        path=shared_data / "cola_dev.tsv", tokenizer=shared_data / "bert_base_uncased_vocab.txt"
    ).open()
    assert bert.vocabulary.layout.size == 30_522
    assert {(ids[0], ids[-1]) for ids in bert.ids} == {(101, 102)}
    gpt = SOURCES["text"](
        path=shared_data / "cola_dev.tsv",
        tokenizer=shared_data / "gpt2_encoder.json",
        merges=shared_data / "gpt2_vocab.bpe",
    ).open()
    assert gpt.vocabulary.layout.size == 50_257
    assert all(read(gpt.vocabulary, list(ids)) == text for ids, text in zip(gpt.ids, gpt.texts, strict=True))
