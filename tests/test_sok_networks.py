"""Studies of networks: what each design changes, cells in miniature, training that rounds share, the index page."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

import gradaudit.models.dense_connections as dense
from gradaudit.client.aggregation import SecureAggregation
from gradaudit.client.federation_settings import Federation
from gradaudit.models.cut_residual import CutResNet
from gradaudit.models.dense_connections import DenselyConnected, seen_after
from gradaudit.models.micro_design import MicroDesign
from gradaudit.models.small_classifiers import SmallClassifier
from gradaudit.protocol.local_training import FedAvg, FedSGD
from gradaudit.report.study_index import INDEX, write_index
from gradaudit.report.study_page import write_study
from gradaudit.report.study_tables import correlation_in_words
from gradaudit.studies import STUDIES, Bench, Correlation, Figure, Study, StudyCurve, Table, read_study, run_study
from gradaudit.studies._collections import SOK, Collection, Question
from gradaudit.studies._design_cell import DesignCell, leaks_more
from gradaudit.studies._sized_bench import at_size
from gradaudit.studies._smoothness import Explained, entries_by_layer
from gradaudit.studies._sok_cells import gia_o
from gradaudit.studies._stage_cell import StageCell, TrainingCourse
from gradaudit.studies._trials import jobs_of
from gradaudit.studies.realistic_client import LADDER, SummedCell
from gradaudit.studies.sok_table_4 import ROWS
from gradaudit.values.errors import AuditError

NAMES = (
    "sok-figure-4",
    "sok-figure-10",
    "sok-figure-13",
    "sok-figure-14",
    "sok-table-3",
    "sok-table-4",
    "realistic-client",
)
NEW = [STUDIES[name] for name in NAMES]
LITTLE = Explained(replace(Explained().smoothness, points=1, probes=1), steps=1)


@pytest.fixture
def labelled(tmp_path):
    """Four classes of noisy squares, each brighter than the one before."""
    labels = np.arange(300) % 4
    pictures = np.random.default_rng(0).integers(0, 60, (300, 8, 8, 3)) + 60 * labels[:, None, None, None]
    np.savez(tmp_path / "x.npz", images=pictures.astype(np.uint8), labels=labels)
    return Bench(tmp_path / "x.npz")


@dataclass(frozen=True)
class Flat:
    """A linear network."""

    name: str = "flat"

    def build(self, num_classes, channels, size):
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * size**2, num_classes))


# ------------------------------------------------------------------------------------------------------------ studies


@pytest.mark.parametrize("study", NEW, ids=lambda study: study.name)
def test_claims_and_correlations_are_about_rows_that_some_scale_measures(study):
    measured = {cell.name for cells in study.cells.values() for cell in cells}
    assert {name for one in study.comparisons for name in one.cells} <= measured
    for one in study.correlations:
        assert not one.cells or set(one.cells) & measured
    assert set(study.scales) == {"quick", "default", "paper"}
    assert study.tables
    assert study.figures


def test_published_figures_by_hand():
    assert STUDIES["sok-table-4"].reported["remove max-pool"] == {"lpips": 0.0003}
    assert STUDIES["sok-table-4"].reported["kernel 3 to 1"] == {"lpips": 0.2139}
    assert STUDIES["sok-table-3"].reported["googlenet, block 3"] == {"lpips": 0.0710}
    assert STUDIES["sok-table-3"].reported["inception_v3, full gradient"] == {"lpips": 0.0332}


def test_a_claim_on_lpips_takes_the_smaller_value():
    assert [(one.column, one.smaller) for one in leaks_more("more", "a", "b")] == [
        ("ssim", False),
        ("psnr", False),
        ("lpips", True),
    ]


# ------------------------------------------------------------------------------------------------------------ designs


@pytest.mark.parametrize("change", ROWS.values(), ids=list(ROWS))
def test_a_micro_design_has_what_its_row_says(change):
    design = replace(MicroDesign(width=1), **change)
    model = design.build(5, 3, 32)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    kinds = [type(module) for module in model]
    assert any(name.endswith("bias") for name, _ in model.named_parameters()) == design.bias
    assert (nn.ReLU in kinds, nn.Dropout in kinds) == (design.relu, bool(design.dropout))
    assert kinds.count(nn.MaxPool2d) == 2 * design.pool
    assert {module.kernel_size[0] for module in model if isinstance(module, nn.Conv2d)} == {design.kernel}
    assert {module.padding[0] for module in model if isinstance(module, nn.Conv2d)} == {design.padding}


def test_a_micro_design_refuses_images_of_which_nothing_is_left():
    with pytest.raises(AuditError, match="8 pixels are too small"):
        MicroDesign(width=1, kernel=4).build(5, 3, 8)


@pytest.mark.parametrize(("cut", "constant"), [(None, False), (3, True)])
def test_a_cut_skip_no_longer_adds_its_input(cut, constant):
    """With its last BatchNorm at zero, a block passes on its input or, without the skip, nothing."""
    model = CutResNet("resnet18", cut).build(4, 1, 8).eval()
    block = model.layer2[0]
    nn.init.zeros_(block.bn2.weight)
    with torch.no_grad():
        logits = model(torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(logits[0], logits[1], atol=1e-6) == constant
    with pytest.raises(AuditError, match="1 to 8"):
        CutResNet("resnet18", 9).build(4, 1, 8)


def test_the_connections_of_the_dense_variants():
    """From the published networks: what is concatenated after each of the first eight convolutions."""
    assert seen_after(4, "all") == (1, 2, 3, 4)
    odd = [(1,), (1, 2), (1, 2, 3), (1, 3, 4), (1, 2, 4, 5), (1, 3, 5, 6), (1, 2, 4, 6, 7), (1, 3, 5, 7, 8)]
    assert [seen_after(k, "odd") for k in range(1, 9)] == odd
    powers = [(1,), (1, 2), (2, 3), (1, 3, 4), (4, 5), (3, 5, 6), (6, 7), (1, 5, 7, 8)]
    assert [seen_after(k, "powers") for k in range(1, 9)] == powers
    assert seen_after(16, "powers") == (1, 9, 13, 15, 16)


def test_a_dense_network_sees_its_connections():
    sizes = {}
    for connections in ("all", "odd", "powers"):
        model = DenselyConnected("densenet-43", connections, growth=2).build(5, 3, 16).eval()
        assert model(torch.rand(1, 3, 16, 16)).shape == (1, 5)
        blocks = [module for module in model if isinstance(module, dense.ConcatenatingBlock)]
        assert [len(block.convolutions) for block in blocks] == [8, 10, 12, 8]
        sizes[connections] = [convolution.in_channels for convolution in blocks[0].convolutions]
    assert sizes["all"] == [64, 2, 4, 6, 8, 10, 12, 14]
    assert sizes["odd"] == [64, 2, 4, 6, 6, 8, 8, 10]
    assert sizes["powers"] == [64, 2, 4, 4, 6, 4, 6, 4]


def test_a_vgg_for_small_images_has_one_linear_layer():
    torch.manual_seed(0)
    model = SmallClassifier("vgg11").build(7, 3, 32)
    assert isinstance(model.classifier, nn.Linear)
    assert sum(parameter.numel() for parameter in model.parameters()) < 10_000_000
    with torch.no_grad():
        logits = model.eval()(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert (logits[0] - logits[1]).abs().max() > 1e-3
    assert (SmallClassifier("vgg11").size, SmallClassifier("inception_v3").size) == (None, 75)


# -------------------------------------------------------------------------------------------------------------- cells


def test_a_resized_bench_draws_the_same_images(labelled):
    small = at_size(labelled, 4)
    assert small.source.shape == (3, 4, 4)
    assert at_size(labelled, 8) is labelled
    assert at_size(labelled, 4) is small
    generators = [torch.Generator().manual_seed(one.chance(1)) for one in (labelled, small)]
    drawn = [
        one.draw(torch.tensor([0, 3]), generator) for one, generator in zip((labelled, small), generators, strict=True)
    ]
    assert drawn[0] == drawn[1]
    with labelled.measuring(None, None):
        at_size(labelled, 4).show("x", torch.zeros(3, 2, 2))
        assert list(labelled.files) == ["pictures/x.png"]
    assert at_size(Bench(), 16).source.shape == (3, 16, 16)


def test_a_cell_explains_its_leak_and_a_block_shares_less(labelled):
    cell = DesignCell("one", gia_o(1), batch_size=1, design=MicroDesign(width=1), size=16, explained=LITTLE)
    values = cell.measure(labelled, 0)
    assert {"psnr", "igsa", "igsa.relative", "determined", "open"} <= values.keys()
    model = cell.client(at_size(labelled, 16), 0).model
    entries = [sum(p.numel() for p in part.parameters()) for part in model]
    assert entries_by_layer(FedSGD(), model) == [count for count in entries if count]
    assert values["room"] == pytest.approx(sum(entries) / (3 * 16 * 16))
    part = replace(cell, training=FedSGD(shared=("conv1.*",)), explained=None).measure(labelled, 0)
    assert part["room"] == pytest.approx((9 * 2 + 2) / (3 * 16 * 16))


def stage(rounds, **changes):
    cell = StageCell(
        f"round {rounds}",
        gia_o(1),
        batch_size=1,
        design=Flat(),
        rounds=rounds,
        federation=Federation(clients=2, batch_size=20, examples=100, test_examples=50),
        local=FedAvg(learning_rate=0.3, minibatch_size=10),
    )
    return replace(cell, **changes)


def test_rounds_share_one_training(labelled, monkeypatch):
    trained, real = [], TrainingCourse._round
    monkeypatch.setattr(TrainingCourse, "_round", lambda self, seed: (trained.append(seed), real(self, seed)))
    found = [stage(rounds).measure(labelled, 0) for rounds in (0, 2, 6)]
    assert len(trained) == 6
    stage(6, name="another attack", attack=gia_o(2)).measure(labelled, 0)
    assert len(trained) == 6
    assert found[2]["accuracy"] > found[0]["accuracy"] + 0.2
    late, early = (stage(rounds).client(labelled, 0).model[1].weight for rounds in (6, 2))
    assert len(trained) == 6 + 2
    assert not torch.equal(late, early)
    again = stage(6).client(labelled, 0)
    assert torch.equal(again.model[1].weight, late)
    assert again.training == FedSGD()


def test_each_network_is_trained_by_one_worker(labelled):
    cells = [stage(0), stage(2), stage(0, name="other", design=Flat("other"))]
    study = Study("x", "X", "", "", {"quick": tuple(cells)}, {"quick": 2}, ())
    assert [[cell.name for cell in job.cells] for job in jobs_of(study, cells, 2, "")] == [
        ["round 0", "round 2"],
        ["other"],
    ] * 2
    assert "needs --data with labels" in stage(0).missing(Bench())
    big = Federation(examples=400)
    assert "the data has 300" in stage(0, federation=big).missing(labelled)


def test_the_realistic_client_is_a_sum_and_its_control_is_not():
    cells = {cell.name: cell for cell in STUDIES["realistic-client"].cells["paper"]}
    control, real = (cells[f"inverting-gradients-short, {name}"] for name in (LADDER[0], LADDER[-1]))
    assert (control.training, control.batch_size, control.clients) == (FedSGD(), 1, 1)
    assert {name for name, cell in cells.items() if not cell.trained} == {
        "inverting-gradients-fast, control",
        "inverting-gradients-short, control",
    }
    assert (real.clients, real.batch_size, real.training.epochs, real.training.batch_norm) == (8, 512, 2, "train")
    assert "sme, realistic" in cells
    assert "sme, control" not in cells
    assert not any("april" in name for name in cells)
    member = SummedCell("sum", gia_o(1), "mlp", 6, labels="uniform", clients=2)
    client = member.client(Bench(), 0)
    assert isinstance(client, SecureAggregation)
    assert client.sizes == (3, 3)
    assert member.measure(Bench(), 0)["psnr"] > 0


# --------------------------------------------------------------------------------------------------------------- page


@dataclass(frozen=True)
class Point:
    number: int

    @property
    def name(self):
        return f"point {self.number}"

    def missing(self, bench):
        return None

    def measure(self, bench, seed) -> Mapping[str, float]:
        return {"x": float(self.number), "y": -float(self.number**3), "same": 1.0}


def points(**changes):
    cells = {"quick": tuple(map(Point, range(4)))}
    asked = (
        Correlation("x against y", "x", "y"),
        Correlation("x against a constant", "x", "same"),
        Correlation("of another scale", "x", "y", ("point 9",)),
    )
    tables = (Table("Points", {"x": "x"}),)
    return replace(Study("points", "Points", "", "", cells, {"quick": 2}, tables, correlations=asked), **changes)


def test_a_rank_correlation_by_hand(tmp_path):
    study = points()
    run_study(study, "quick", Bench(), tmp_path)
    result = read_study(study, "quick", Bench(), tmp_path)
    rho, p, n = result.correlation(study.correlations[0])
    assert rho == pytest.approx(-1)
    assert (n, p < 1e-6) == (8, True)
    assert correlation_in_words(result, study.correlations[1]) == "not measured, or constant"
    assert "ρ = -1.00, p &lt; 0.001, n = 8" in write_study(result, tmp_path).read_text(encoding="utf-8")
    assert [one.get("n") for one in result.to_json()["correlations"]] == [8, None]
    assert result.seconds > 0


def test_a_figure_shows_the_published_line_beside_the_measured_one(tmp_path):
    curve = StudyCurve("cubes", "y", tuple((float(number), f"point {number}") for number in range(4)))
    published = {f"point {number}": {"y": -2.0 * number} for number in range(3)}
    study = points(figures=(Figure("Cubes", "x", "y", (curve,)),), reported=published)
    run_study(study, "quick", Bench(), tmp_path)
    result = read_study(study, "quick", Bench(), tmp_path)
    page = write_study(result, tmp_path).read_text(encoding="utf-8")
    assert page.count("<polyline") == 2
    assert "<title>cubes, published</title>" in page
    few = replace(result, study=replace(study, reported={"point 0": {"y": 1.0}}))
    assert "published</title>" not in write_study(few, tmp_path).read_text(encoding="utf-8")


def test_the_index_says_what_is_confirmed(tmp_path):
    falls, rises = (
        leaks_more("falls", "point 0", "point 1", ("y",))[0],
        leaks_more("a", "point 0", "point 1", ("x",))[0],
    )
    collection = Collection("c", "All", "nobody", (Question("RQ1", "Why?", "It falls.", ("whole", "half", "no")),))
    found: dict = {"no": "needs labels"}
    for name, claims in (("whole", (falls,)), ("half", (falls, rises))):
        study = points(name=name, comparisons=claims)
        run_study(study, "quick", Bench(), tmp_path / name)
        found[name] = read_study(study, "quick", Bench(), tmp_path / name)
    page = write_index(collection, found, tmp_path).read_text(encoding="utf-8")
    for expected in ("It falls.", 'href="whole/study.html"', "<td>confirmed</td>", "<td>in part</td>", "needs labels"):
        assert page.count(expected) == 1, expected
    assert "1 confirmed, 1 contradicted" in page


def test_the_command_runs_and_shows_a_collection(gradaudit, tmp_path, monkeypatch):
    collection = Collection("all", "All", "nobody", (Question("RQ1", "Why?", "It falls.", ("points", "stages")),))
    stages = Study("stages", "S", "", "", {"quick": (stage(0),)}, {"quick": 1}, ())
    monkeypatch.setattr("gradaudit.studies.STUDIES", {"points": points(), "stages": stages})
    monkeypatch.setattr("gradaudit.studies._collections.COLLECTIONS", {"all": collection})
    command = ("study", "all", "--scale", "quick", "--out", "out", "--workers", "1")
    code, out, _ = gradaudit(*command, "--show")
    assert (code, "holds no measurements" in out) == (0, True)
    code, out, err = gradaudit(*command)
    assert code == 0, err
    assert "needs --data with labels" in out
    assert "8 of 8 measurements" in (tmp_path / "out" / INDEX).read_text(encoding="utf-8")
    code, out, _ = gradaudit(*command, "--show", "--json")
    assert json.loads(out)["studies"]["points"]["done"] == 8


def test_the_collection_names_studies_that_exist():
    assert set(SOK.studies) <= set(STUDIES)
    assert set(NAMES) <= set(SOK.studies)


def test_a_shallow_micro_design_has_its_pools_before_the_last_two():
    kinds = [type(layer).__name__ for layer in MicroDesign(width=2, depth=3, dropout=0).build(5, 3, 32)]
    assert kinds == [
        "Conv2d",
        "ReLU",
        "MaxPool2d",
        "Conv2d",
        "ReLU",
        "MaxPool2d",
        "Conv2d",
        "ReLU",
        "Flatten",
        "Linear",
    ]


@pytest.mark.parametrize("depth", [0, 2, 9])
def test_a_micro_design_has_three_to_eight_convolutions(depth):
    with pytest.raises(AuditError, match="depth must be 3 to 8"):
        MicroDesign(depth=depth).build(5, 3, 32)
