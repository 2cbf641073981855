"""The study of deep networks: starts near the ground truth, images of one size, and equal numbers of steps."""

from dataclasses import replace
from pathlib import Path

import pytest

from gradaudit.attacks import ATTACKS
from gradaudit.studies import STUDIES, Bench
from gradaudit.studies._deep_cells import BasinCell, DeepCell
from gradaudit.studies._sok_cells import WITH_GENERATOR
from gradaudit.studies.deep_networks import spread

IG, DEEP = ATTACKS["inverting-gradients"], ATTACKS["inverting-gradients-deep"]


def basin(radius):
    cell = BasinCell("near", spread(IG, 2), network="lenet", batch_size=1, radius=radius)
    return cell.measure(Bench(), 0)


def test_a_start_at_the_truth_and_near_it():
    exact, near, far = (basin(radius) for radius in (0.0, 0.1, 1.0))
    assert exact["start"] == 100
    assert exact["objective.start"] == pytest.approx(0, abs=1e-5)
    assert exact["start"] > near["start"] > far["start"]
    # 0.1 in units of a standard deviation of about 0.226 is 20 log10(1 / 0.0226) = 32.9 dB, clamped at the box
    assert 32 < near["start"] < 36
    assert 0 < near["objective.start"] < far["objective.start"]
    assert near["psnr"] != near["start"]  # the attack goes on from there


def test_a_row_is_about_images_of_one_size():
    bench = Bench()
    assert DeepCell("one", IG).missing(bench) is None
    assert "224 pixels; the data has 32" in DeepCell("one", IG, side=224).missing(bench)
    assert "needs --data" in DeepCell("one", IG, trained=True).missing(bench)


def test_both_attacks_take_equally_many_steps():
    assert sum(stage.steps for stage in spread(DEEP, 150).stages) == spread(IG, 150).stages[0].steps == 150
    assert replace(spread(DEEP, 1200)) == DEEP


def test_every_setting_is_compared_in_pairs():
    study = STUDIES["deep-networks"]
    for cells in study.cells.values():
        by_name = {cell.name: cell for cell in cells}
        for claim in study.comparisons:
            better, worse = by_name[claim.better], by_name[claim.worse]
            assert better.attack.name in ("inverting-gradients-deep", "residual-r-gap", "gi-pip", "inverting-gradients")
            assert worse.attack.name == "inverting-gradients"
            same = {"name": "", "attack": IG, "knowledge": WITH_GENERATOR}
            assert replace(better, **same) == replace(worse, **same)


def test_four_starts_cost_what_one_costs_and_gi_pip_says_what_it_lacks(monkeypatch):
    cells = {cell.name: cell for cell in STUDIES["deep-networks"].cells["default"]}
    one, four = (
        cells[f"{name}, trained ResNet-20, sure, B 1"].attack for name in ("Inverting Gradients", "four starts")
    )
    assert one.stages[0].steps - 4 < four.restarts * four.stages[0].steps <= one.stages[0].steps
    monkeypatch.delenv("GRADAUDIT_ASSETS", raising=False)
    bench = Bench(weights={"resnet20": Path("here.npz")})
    assert "cifar-auto-encoder" in cells["GI-PIP, trained ResNet-20, sure, B 1"].missing(bench)
