"""Images as private examples: archives and folders."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import whole
from ..judge import Input, Must
from ..mutate import Dice, bytes_mutated

AUDIT = ("audit", "a.yaml")


def archive(dice: Dice, folder: Path) -> Input:
    """Return an input whose `p.npz` has a wrong array or damaged bytes."""
    whole.project(folder)
    size = dice.choice(({}, {}, {"size": 8}, {"size": 4}))
    whole.audit_file(folder, whole.config(data={"source": "npz", "path": "p.npz", "batch_size": 1, **size}))
    path, way = folder / "p.npz", dice.choice(("wrong", "wrong", "odd", "bytes", "cut"))
    if way in ("bytes", "cut"):
        return Input(AUDIT, *_damaged(path, dice, way))
    changed, what, must = _arrays(dice, way)
    try:
        np.savez(path, **changed)
    except (TypeError, ValueError):
        path.write_bytes(b"")
        must = "refuse"
    return Input(AUDIT, f"npz: {what}", must)


def _arrays(dice: Dice, way: str) -> tuple[dict[str, Any], str, Must]:
    pool = (_wrong if way == "wrong" else _odd)(whole.pixels(), np.array([0, 1, 2, 0, 1, 2]))
    what = dice.choice(list(pool))
    arrays = {**whole.arrays(), **pool[what]}
    return {k: v for k, v in arrays.items() if v is not None}, what, "refuse" if way == "wrong" else "any"


def _wrong(images: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return arrays that must be refused in an archive of images."""
    unit = images / 255.0
    return {
        "no images": {"images": None},
        "images of 16 bits": {"images": images.astype(np.uint16) * 257},
        "signed images": {"images": images.astype(np.int8)},
        "images of truth values": {"images": images > 99},
        "complex images": {"images": unit * 1j},
        "images of text": {"images": images.astype(str)},
        "images up to 255 as floats": {"images": images.astype(np.float32)},
        "images with NaN": {"images": np.where(images > 99, np.nan, unit)},
        "images with infinity": {"images": np.where(images > 99, np.inf, unit)},
        "images below zero": {"images": unit - 0.5},
        "images divided twice": {"images": unit / 255},
        "one value": {"images": np.full_like(images, 7)},
        "one picture": {"images": images[0]},
        "two channels": {"images": np.stack([images] * 2, -1)},
        "channels first": {"images": np.stack([images] * 3, 1)},
        "five axes": {"images": images[None, None]},
        "no picture": {"images": images[:0]},
        "no pixel": {"images": images[:, :0]},
        "objects": {"images": np.array([images, None], dtype=object)},
        "fields": {"images": np.zeros(6, dtype=[("a", "u1"), ("b", "u1")])},
        "a scalar": {"images": np.array(3, np.uint8)},
        "dates": {"images": images.astype("M8[s]")},
        "labels too few": {"labels": labels[:-1]},
        "labels below zero": {"labels": labels - 1},
        "labels as floats": {"labels": labels + 0.5},
        "labels of text": {"labels": labels.astype(str)},
        "labels beyond the classes": {"labels": labels + 1},
        "labels beyond the model": {"labels": labels * 100, "class_names": None},
        "labels of two axes": {"labels": labels[None]},
        "labels of objects": {"labels": labels.astype(object)},
        "huge labels": {"labels": labels.astype(np.uint64) + np.uint64(2**63), "class_names": None},
        "class names as numbers": {"class_names": labels},
        "names as numbers": {"names": images},
    }


def _odd(images: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return arrays that may be accepted or refused."""
    unit = images / 255.0
    return {
        "big endian": {"images": unit.astype(">f4"), "labels": labels.astype(">i2")},
        "Fortran order": {"images": np.asfortranarray(images)},
        "half": {"images": unit.astype(np.float16)},
        "long double": {"images": unit.astype(np.longdouble)},
        "subnormal": {"images": np.where(images > 99, 1e-310, unit)},
        "no labels": {"labels": None, "class_names": None},
        "no names": {"names": None},
        "names too few": {"names": np.array(["a"])},
        "names that hide": {"names": np.array(["\u202ea", "\x1b[2J", "b\nc", "\0", "é\u0301", "<script>"])},
        "class names that hide": {"class_names": np.array(["\x1b[31m", "\u200b", "a" * 5_000])},
        "names of bytes": {"names": np.array([b"\xff", b"a", b"b", b"c", b"d", b"e"])},
        "equal names": {"names": np.array(["a"] * 6)},
        "another array": {"../x": np.ones(3), "": np.ones(2)},
        "objects beside": {"other": np.array([None], dtype=object)},
        "unsigned labels": {"labels": labels.astype(np.uint64)},
        "all alike": {"images": np.stack([images[0]] * 6)},
        "one pixel": {"images": images[:, :1, :1]},
        "oblong": {"images": images[:, :4]},
        "three channels": {"images": np.stack([images] * 3, -1)},
    }


def _damaged(path: Path, dice: Dice, way: str) -> tuple[str, Must]:
    data = path.read_bytes()
    if way == "cut":
        path.write_bytes(data[: dice.randrange(max(1, len(data) - 8))])
        return f"{path.suffix}: cut", "refuse"
    data, what = bytes_mutated(data, dice, path.parent.joinpath("net.py").read_bytes())
    path.write_bytes(data)
    return f"{path.suffix}: {what}", "any"


def folder_of(dice: Dice, folder: Path) -> Input:
    """Return an input whose folder of images has a wrong file or is itself wrong."""
    whole.project(folder)
    root = whole.picture_files(folder)
    data: dict[str, Any] = {"source": "folder", "path": "pictures", "batch_size": dice.choice((1, 2, 6))}
    whole.audit_file(folder, whole.config(data=data))
    files = sorted(root.rglob("*.*"))
    path = dice.choice(files)
    way = dice.choice(("bytes", "bytes", "cut", "kind", "kind", "place"))
    if way == "bytes":
        path.write_bytes((changed := bytes_mutated(path.read_bytes(), dice, files[0].read_bytes()))[0])
        return Input(AUDIT, f"{path.suffix}: {changed[1]}")
    if way == "cut":
        path.write_bytes(path.read_bytes()[: dice.randrange(40)])
        return Input(AUDIT, f"{path.suffix}: cut", "refuse")
    what, must = _picture(dice, path) if way == "kind" else _folder(dice, root, path)
    return Input(AUDIT, f"a picture: {what}", must)


def _picture(dice: Dice, path: Path) -> tuple[str, Must]:
    """Replace an image by one of another kind."""
    values, file = whole.pixels()[0], io.BytesIO()
    image = Image.fromarray(values)
    kinds: dict[str, tuple[Image.Image, str, Must]] = {
        "16 bits": (Image.fromarray(values.astype(np.uint16) * 257), "PNG", "refuse"),
        "32-bit numbers": (Image.fromarray(values.astype(np.int32)), "TIFF", "refuse"),
        "fractions": (Image.fromarray(values.astype(np.float32)), "TIFF", "refuse"),
        "another size": (image.resize((9, 8)), "PNG", "refuse"),
        "one pixel": (image.resize((1, 1)), "PNG", "refuse"),
        "colour": (image.convert("RGB"), "PNG", "refuse"),
        "a palette": (image.convert("P"), "GIF", "any"),
        "transparent": (image.convert("LA"), "PNG", "any"),
        "black and white": (image.convert("1"), "PNG", "any"),
        "CMYK": (image.convert("CMYK"), "JPEG", "any"),
        "another format": (image, dice.choice(("BMP", "WEBP", "TIFF", "PPM", "ICO", "TGA")), "any"),
    }
    what = dice.choice(list(kinds))
    picture, form, must = kinds[what]
    picture.save(file, form)
    path.write_bytes(file.getvalue())
    return f"{what} {form}", "any" if what == "colour" else must


def _folder(dice: Dice, root: Path, path: Path) -> tuple[str, Must]:
    """Replace the folder of files by something else."""
    what = dice.choice(("broken link", "loop", "folder named like a file", "empty", "both layouts", "no pictures",
                       "hidden",
                        "link to itself", "text", "pipe", "name", "one file"))  # fmt: skip
    if what in ("broken link", "loop", "folder named like a file", "text", "empty", "pipe"):
        path.unlink()
    if what in ("broken link", "loop"):
        path.symlink_to("gone.png" if what == "broken link" else path.name)
    elif what == "folder named like a file":
        path.mkdir()
    elif what in ("empty", "text"):
        path.write_text("" if what == "empty" else "a picture\n", encoding="utf-8")
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "both layouts":
        path.rename(root / path.name)
    elif what == "no pictures":
        for file in root.rglob("*.*"):
            file.rename(file.with_suffix(".txt"))
    elif what == "hidden":
        path.rename(path.with_name(f".{path.name}"))
    elif what == "link to itself":
        (root / "class9").symlink_to(".")
    elif what == "name":
        path.rename(
            path.with_name(dice.choice(("\x1b[2J.png", "\u202egnp.png", "a" * 240 + ".png", "a\nb.png", "\udcff.png")))
        )
    elif what == "one file":
        for file in sorted(root.rglob("*.*"))[1:]:
            file.unlink()
    refused = what in ("broken link", "loop", "empty", "text", "pipe", "both layouts", "no pictures")
    return what, "refuse" if refused else "any"
