"""The benchmarks that no other test imports run in miniature, so that their tables can be had again."""

import pytest
from benchmarks import before_after, quality, selection, step


def test_the_cost_of_a_step():
    row = step.measure("lenet", 1, 32, "eval", seconds=0)
    ours = [column for column in step.COLUMNS if column != "breaching"]
    assert all(row[f"{column}_ms"] > 0 for column in ours)
    assert row["cosine_directional"] > 0.999


def test_a_step_before_and_after():
    found = before_after.measure("lenet", 1, seconds=0)
    assert found.keys() == set(before_after.COLUMNS)
    assert min(found["gradient_ms"], found["iteration_ms"]) > 0
    assert "Python" in before_after.operations("lenet", 1)


@pytest.mark.parametrize(("network", "attack"), [("resnet18", "inverting-gradients"), ("vit-tiny", "april-patches")])
def test_quality_over_time(network, attack):
    peer, row = quality.rows([(network, 1)], [attack], seeds=1, budget=2, size=32)
    assert peer["attack"] == quality.PEER
    assert row["evaluations"] == (2 if attack == "inverting-gradients" else 0)
    assert row["seconds"] > 0


def test_which_iterate_is_returned():
    found = selection.psnrs(quality.case("lenet", 1, 0, 16), steps=4, seed=0)
    assert len(found) == len(selection.CHOICES)
    assert all(psnr > 0 for psnr in found)
