"""Studies of attacks with a generator: contents in and out of its distribution, and what is missing is said."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradaudit.models.assets import save_asset
from gradaudit.models.generators.dcgan import DCGAN
from gradaudit.models.generators.trained_generator import Generator
from gradaudit.studies import STUDIES, Bench
from gradaudit.studies._content_cells import ContentCell, _coarse, _gain
from gradaudit.studies._generator_rows import alone, gias, gifd, pixels, unmade
from gradaudit.studies._sok_cells import WITH_GENERATOR

NAMES = ("generator-attacks", "sok-figure-6", "sok-figure-7", "sok-figure-8")


@pytest.fixture
def contents(tmp_path, monkeypatch):
    """A folder of grey images of 40 px without labels, and a tiny generator of the name that the studies use."""
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "grey.npz", images=rng.integers(0, 256, (30, 40, 40), dtype=np.uint8))
    small = DCGAN(width=2, latent=4)
    save_asset(
        tmp_path / "cifar-dcgan.safetensors", "generator", "dcgan", small.settings, {}, small.build().state_dict()
    )
    monkeypatch.setenv("GRADAUDIT_ASSETS", str(tmp_path))
    return Bench(tmp_path)


def cell(attack, **changes):
    return replace(ContentCell("one", attack, "mlp", 2, content="grey.npz", knowledge=WITH_GENERATOR), **changes)


def test_a_cell_measures_the_images_of_its_file_in_colour_and_in_both_parts(contents):
    found = cell(pixels(3)).measure(contents, 0)
    assert cell(pixels(3)).missing(contents) is None
    assert {"psnr", "gain", "coarse", "fine", "seconds"} <= found.keys()
    batch, _ = cell(pixels(3))._drawn(cell(pixels(3))._inner(contents), 0)
    assert batch.inputs.shape == (2, 3, 32, 32)
    assert torch.equal(batch.inputs[:, 0], batch.inputs[:, 1])


def test_the_generator_alone_ignores_the_update_and_its_own_images_are_a_content(contents):
    one, other = (cell(alone()).measure(contents, seed)["psnr"] for seed in (0, 1))
    assert one != other
    own = cell(alone(), content=Generator("cifar-dcgan"))
    assert own.missing(contents) is None
    assert own.measure(contents, 0)["psnr"] > one + 3  # images of one generator are alike


@pytest.mark.parametrize("attack", [gias(4), gifd(4)], ids=["gias", "gifd"])
def test_rows_with_a_generator_run(contents, attack):
    assert cell(attack).measure(contents, 0)["psnr"] > 0


def test_what_is_missing_is_said(contents, monkeypatch):
    assert "no other.npz" in cell(pixels(3), content="other.npz").missing(contents)
    assert "a folder" in cell(pixels(3)).missing(Bench())
    assert "makes images of 3 x 32 x 32" in cell(alone(), size=40).missing(contents)
    assert unmade(pixels(3), (3, 32, 32)) is None
    monkeypatch.delenv("GRADAUDIT_ASSETS")
    assert "gradaudit train generator" in cell(alone()).missing(contents)


def test_gains_of_both_parts_by_hand():
    truth = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    coarse = _coarse(truth)
    assert _gain(coarse, torch.zeros_like(coarse), coarse) > 60  # nothing is left
    assert _gain(truth, truth + 0.1, truth + 0.2) == pytest.approx(-20 * np.log10(2), abs=1e-3)
    assert _coarse(torch.full((1, 3, 16, 16), 0.3)).allclose(torch.tensor(0.3))


@pytest.mark.parametrize("name", NAMES)
def test_claims_are_about_rows_that_are_measured(name):
    study = STUDIES[name]
    for scale in ("quick", "default"):
        rows = {one.name for one in study.cells[scale]}
        assert {row for claim in study.comparisons for row in claim.cells} <= rows
