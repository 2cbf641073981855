"""Rows and texts as private examples: tables, texts in lines or in a table, and vocabularies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import whole
from ..judge import Input, Must
from ..mutate import Dice, bytes_mutated

AUDIT = ("audit", "a.yaml")
TEXT_ATTACK = [{"name": "tag", "set": {"stages.0.steps": 1}}]
CELLS = ("", " ", "?", "NA", "nan", "inf", "1e400", "-1e308", "1,234", "0x10", "1_0", "٣", '"', '""', "'", "\0",
         "\x1b[2J",
         "\u202e", "a" * 2_000, "\r", "=1+1", "1e-400", "-0", "None", "\ufeff", "½", "１")  # fmt: skip


def table(dice: Dice, folder: Path) -> Input:
    """Return an input with a wrong cell, row, header or byte in a CSV file."""
    whole.project(folder)
    data: dict[str, Any] = {"source": "table", "path": "t.csv", "batch_size": dice.choice((1, 2))}
    data.update(dice.choice(({}, {}, {"missing": "drop"}, {"missing": "category"}, {"label": "kind"},
                {"ignore": ["age"]},
                             {"categorical": ["age"]}, {"categorical": ["age", "height", "kind"]})))  # fmt: skip
    attack = {"name": "inverting-gradients-table", "set": {"stages.0.steps": 1}}
    whole.audit_file(folder, whole.config(data=data, model={"name": "tabular-mlp"}, attacks=[attack]))
    text, what, must = _rows(dice, whole.csv(), ",")
    (folder / "t.csv").write_bytes(text)
    return Input(AUDIT, f"table: {what}", must)


def _rows(dice: Dice, text: str, mark: str) -> tuple[bytes, str, Must]:
    """Return the bytes of a table with one change, a description of it, and what must happen."""
    lines = [line.split(mark) for line in text.splitlines()]
    row, column = dice.randrange(1, len(lines)), dice.randrange(len(lines[0]))
    way = dice.choice(("cell", "cell", "cell", "bytes", "longer", "shorter", "header", "twice", "quote", "empty",
                      "only header",
                       "one row", "utf-16", "bom", "crlf", "cr", "blank line", "no end", "NUL"))  # fmt: skip
    if way == "cell":
        lines[row][column] = dice.choice(CELLS)
        way = f"cell {lines[row][column][:10]!r} in column {lines[0][column]}"
    elif way == "longer":
        lines[row].append("1")
    elif way == "shorter":
        lines[row].pop()
    elif way == "header":
        lines[0][column] = dice.choice(("", " ", "\x1b[2J", "\u202e", "a" * 5_000, "'"))
    elif way == "twice":
        lines[0][column] = lines[0][column - 1]
    elif way in ("only header", "empty", "one row"):
        lines = lines[: {"only header": 1, "empty": 0, "one row": 2}[way]]
    elif way == "quote":
        lines[row][column] = '"' + lines[row][column]
    elif way == "blank line":
        lines.insert(row, [""])
    end = {"crlf": "\r\n", "cr": "\r"}.get(way, "\n")
    whole_text = end.join(map(mark.join, lines)) + ("" if way == "no end" else end)
    data = whole_text.encode({"utf-16": "utf-16", "bom": "utf-8-sig"}.get(way, "utf-8"), "surrogatepass")
    if way == "bytes":
        data, way = bytes_mutated(data, dice, data)
    elif way == "NUL":
        place = dice.randrange(len(data))
        data = data[:place] + b"\0" + data[place:]
    if way == "quote" and mark == "\t":  # a quote has no special meaning there
        return data, way, "any"
    refused = way in ("longer", "shorter", "twice", "quote", "empty", "only header", "utf-16", "NUL")
    return data, way, "refuse" if refused else "any"


def text(dice: Dice, folder: Path) -> Input:
    """Return an input with an error in texts (in lines or in a table) or in a vocabulary."""
    data: dict[str, Any] = {"source": "text", "batch_size": dice.choice((1, 2)), "path": "t.tsv"}
    (folder / "t.tsv").write_text(whole.tsv(), encoding="utf-8")
    (folder / "net.py").write_text(whole.NET.format(features=5), encoding="utf-8")
    way = dice.choice(("table", "lines", "vocabulary", "vocabulary", "pairs", "tokens"))
    must: Must = "any"
    if way == "table":
        content, what, must = _rows(dice, whole.tsv(), "\t")
        (folder / "t.tsv").write_bytes(content)
    elif way == "lines":
        content, what = bytes_mutated("\n".join(whole.WORDS).encode(), dice, b"\xff\xfe\0\r\r\n \xe2\x80\xae")
        data["path"] = "t.txt"
        (folder / "t.txt").write_bytes(content)
    elif way == "tokens":
        data["max_tokens"] = dice.choice((0, -1, 1, 2, 3, 2**62, 2**63, 1.5, "3", True))
        what, must = f"max_tokens {data['max_tokens']}", "any" if data["max_tokens"] in (1, 2, 3, 2**62) else "refuse"
        must = "refuse" if data["max_tokens"] is True else must
    elif way == "vocabulary":
        data["tokenizer"] = "vocab.txt"
        what, must = _vocabulary(dice, folder / "vocab.txt")
    else:
        data["tokenizer"] = "encoder.json"
        what = _pairs(dice, folder)
    model = {"name": "tiny-bert"} if dice.rare() else {"factory": "net.py:Words"}
    whole.audit_file(folder, whole.config(data=data, model=model, attacks=TEXT_ATTACK))
    return Input(("labels" if dice.rare(0.3) else "audit", "a.yaml"), f"text: {way}: {what}", must)


def _vocabulary(dice: Dice, path: Path) -> tuple[str, Must]:
    lines = whole.vocabulary().splitlines()
    what = dice.choice(
        ("bytes", "twice", "no marker", "empty", "crlf", "blank", "hidden", "only markers", "folder", "utf-16")
    )
    place = dice.randrange(5)
    changed = {
        "twice": [*lines, lines[-1]],
        "no marker": [*lines[:place], *lines[place + 1 :]],
        "empty": [],
        "blank": [*lines[:6], "", *lines[6:]],
        "hidden": [*lines, "\x1b[2J", "\u202e"],
        "only markers": lines[:5],
    }.get(what, lines)
    data = ("\r\n" if what == "crlf" else "\n").join(changed).encode("utf-16" if what == "utf-16" else "utf-8")
    if what == "bytes":
        data, what = bytes_mutated(data, dice, data)
    if what == "folder":
        path.mkdir()
    else:
        path.write_bytes(data)
    refused = what in ("twice", "empty", "folder", "utf-16") or (what == "no marker" and place < 4)
    return what, "refuse" if refused else "any"


def _pairs(dice: Dice, folder: Path) -> str:
    letters = sorted({c for line in whole.WORDS for c in line.replace(" ", "Ġ")})
    encoder = "{" + ", ".join(f'"{c}": {i}' for i, c in enumerate([*letters, "th", "<|endoftext|>"])) + "}"
    data = {"encoder.json": encoder.encode(), "vocab.bpe": b"#version: 0.2\nt h\n"}
    name = dice.choice(list(data))
    data[name], what = bytes_mutated(data[name], dice, data["vocab.bpe"])
    for file, content in data.items():
        (folder / file).write_bytes(content)
    return f"{name} {what}"
