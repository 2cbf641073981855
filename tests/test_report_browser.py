"""The page in a real browser: the pictures keep their pixels, and nothing runs over the edge of a phone."""

import dataclasses
import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from gradaudit.report import write
from gradaudit.values.finding import Finding, ImageFiles, RunRecord, Score, Scores
from gradaudit.values.measures import MEASURES
from gradaudit.values.transcript import Transcript, TranscriptLine
from gradaudit.values.types import Modality

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium, chromium-browser or google-chrome on PATH")

SIDE, SCALE = 16, 8  # 16 pixels shown on 128


def finding(folder, client, seed, knowledge=("BATCH_SIZE", "LABELS")):
    random = np.random.default_rng(seed)
    paths = []
    for kind in ("truth", "reconstruction", "control"):
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        path = folder / f"{seed}-{kind}.png"
        Image.fromarray(pixels).save(path)
        paths.append((path.name,))
    return Finding(
        attack="an-attack-with-a-rather-long-name-in-one-word", case=client, client=client, seed=0, repeat=0,
        scores=Scores({"psnr": Score.of((30.0,)), "rank": Score.of((1.0,))}),
        control=Scores({"psnr": Score.of((12.0,))}), objective=1e-6,
        seconds=3.0, verified=True, needs=("LABELS",), knowledge=knowledge, client_value="Client" * 40,
        attack_value="GradientMatching(name='x')" * 20, gallery=100, pictures=ImageFiles(*paths),
        curves=(((0, 1.0), (100, 1e-6)),),
    )  # fmt: skip


def screenshot(page, folder, width, height):
    target = folder / f"{width}.png"
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-device-scale-factor=1",
        "--force-color-profile=srgb", "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage",
        f"--user-data-dir={folder / f'profile-{width}'}", f"--window-size={width},{height}", f"--screenshot={target}",
        page.as_uri(),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return np.asarray(Image.open(target).convert("RGB"))


def occurrences(screen, block):
    """Upper left corners `(y, x)` at which `block` lies in `screen`, every pixel equal."""
    colour = (screen == block[0, 0]).all(axis=2)
    corner = colour[1:, 1:] & ~colour[:-1, 1:] & ~colour[1:, :-1]  # where a field of the first pixel's colour begins
    candidates = np.argwhere(corner) + 1
    height, width, _ = block.shape
    return [(y, x) for y, x in candidates if np.array_equal(screen[y : y + height, x : x + width], block)]


@pytest.fixture
def page(tmp_path):
    findings = [finding(tmp_path, "no defense", 1), finding(tmp_path, "gaussian-noise std=0.01", 2)]
    return write(findings, RunRecord("An audit", "seed: 0\n", "test pictures", planned=2), tmp_path)


def lines(kind, words):
    """A transcript's lines in which every second piece differs."""
    return tuple(
        TranscriptLine(
            tuple(f" {word}" for word in text.split()),
            tuple(kind != "truth" and bool(i % 2) for i in range(len(text.split()))),
        )
        for text in words
    )


def written(folder, modality, columns, words):
    """A finding on text or rows with its transcript on disk."""
    kept = Transcript(columns, *(lines(kind, words) for kind in ("truth", "reconstruction", "control")))
    (folder / "kept.json").write_text(json.dumps(kept.to_json()))
    metric = MEASURES[modality].metric
    whole = finding(folder, "no defense", 1)
    return dataclasses.replace(
        whole, modality=modality, pictures=ImageFiles(), transcript="kept.json",
        scores=Scores({metric: Score.of((0.5,) * len(words))}), control=Scores({metric: Score.of((0.1,) * len(words))}),
    )  # fmt: skip


LONG = " ".join(f"word{i}" for i in range(40))


@pytest.mark.parametrize(
    ("modality", "columns", "words"),
    [
        (Modality.TEXT, (), (LONG, "short enough")),
        (Modality.TABLE, tuple(f"column-{i}" for i in range(40)), (LONG, LONG)),
    ],
)
def test_texts_and_rows_keep_to_the_page(tmp_path, modality, columns, words):
    page = write([written(tmp_path, modality, columns, words)], RunRecord("An audit", "", "test", planned=1), tmp_path)
    alarm = (164, 40, 28)
    for width, height in ((1280, 2600), (390, 6000)):
        screen = screenshot(page, tmp_path, width, height)
        assert screen.shape[1] == width
        assert (screen[:, -8:] == 255).all()
        assert (screen == alarm).all(axis=2).any()  # the marks are seen


def test_pictures_appear_with_exactly_their_pixels(page, tmp_path):
    screen = screenshot(page, tmp_path, 1280, 3000)
    assert screen.shape == (3000, 1280, 3)
    for name in ("1-truth", "1-reconstruction", "1-control", "2-truth", "2-reconstruction"):
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png"))
        enlarged = pixels.repeat(SCALE, axis=0).repeat(SCALE, axis=1)
        assert len(occurrences(screen, enlarged)) == 1, name


def test_nothing_runs_over_the_edge_of_a_phone(page, tmp_path):
    screen = screenshot(page, tmp_path, 390, 6600)
    assert screen.shape[1] == 390
    assert (screen[:, -8:] == 255).all()
    assert (screen[:, :8] == 255).all()
    assert (screen[-4:] == 255).all()  # the whole page is in the picture


def test_what_no_real_adversary_knows_is_red(tmp_path):
    """Pixels in the page's red, over those of the same page without an oracle."""
    counts = []
    for number, knowledge in enumerate((("BATCH_SIZE",), ("BATCH_SIZE", "IMAGE_STATISTICS"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        case = finding(folder, "no defense", 1, knowledge)
        screen = screenshot(
            write([case], RunRecord("An audit", "seed: 0\n", "test pictures", planned=1), folder), folder, 1280, 2400
        )
        counts.append(int((screen == (0xA4, 0x28, 0x1C)).all(axis=2).sum()))
    assert counts[1] > counts[0] + 500
