"""The study of what averaging a gradient discards: films of the attack, the rank of the gradient's map, its page."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gradaudit.audit.attempt import attack_seed
from gradaudit.client.participant import Client
from gradaudit.metrics import psnr
from gradaudit.report.study_page import write_study
from gradaudit.report.study_tables import difference_in_words
from gradaudit.studies import Bench, Comparison, read_study, run_study
from gradaudit.studies import _rank_cells as rank_cells
from gradaudit.studies._definition import identity
from gradaudit.studies._film_cells import film_of, film_steps
from gradaudit.studies._rank_cells import RankCell, derivative, gram_of, numerical_ranks
from gradaudit.studies.information_discard import MLP, ONE, PRIOR, STUDY, _attack, _prior, _sweep
from gradaudit.values.errors import AuditError
from gradaudit.values.types import Batch

QUICK = {cell.name: cell for cell in STUDY.cells["quick"]}
FILMED = replace(QUICK[MLP], attack=_attack("L2", 3))
RANK = RankCell("lenet", 1, 8)
MINIATURE = replace(
    STUDY,
    cells={
        "quick": (
            FILMED,
            replace(QUICK[_prior(PRIOR)], attack=_attack("cosine", 2, PRIOR)),
            replace(QUICK[_sweep(1)], attack=_attack("cosine", 1, PRIOR)),
            RANK,
        )
    },
    repeats={"quick": 1},
    comparisons=(
        *STUDY.comparisons,
        Comparison("passes the number", RANK.name, "", "rank", mark=0.5),
        Comparison("stays below it", RANK.name, "", "rank", smaller=True, mark=0.5),
    ),
)


@pytest.fixture(scope="module")
def bench():
    return Bench()


@pytest.fixture(scope="module")
def folder(bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("discard")
    run_study(MINIATURE, "quick", bench, folder)
    write_study(read_study(MINIATURE, "quick", bench, folder), folder)
    return folder


@pytest.fixture
def result(bench, folder):
    return read_study(MINIATURE, "quick", bench, folder)


def sheet(folder, cell):
    """Rows of the film of a cell: `[B, columns, C, H, W]`, in [0, 1]."""
    with Image.open(folder / "pictures" / f"{film_of(identity(cell))}.png") as image:
        pixels = torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1) / 255
    side = pixels.shape[2] // (len(cell.frames) + 2)
    return torch.stack([torch.stack(row.split(side, 2)) for row in pixels.split(side, 1)])


def test_the_miniature_is_whole(result, folder, bench):
    assert result.done == result.planned == 4
    assert result.interval(RANK.name, "rank").mean == 1.0
    assert len(list((folder / "pictures").iterdir())) == 2
    for seed in (0, 1):  # only the first measurement is filmed
        with bench.measuring(None, None):
            replace(FILMED, attack=_attack("L2", 1)).measure(bench, seed)
            assert len(bench.files) == (seed == 0)


def test_the_film_approaches_the_truth(folder):
    for row in sheet(folder, FILMED):
        near = psnr(row[:-1].double(), row[-1:].double().expand_as(row[:-1]))
        assert near[-1] > near[0] + 10
        assert near[-1] > 25


@pytest.mark.parametrize("number", [0, 1])
def test_the_frames_are_the_iterates_of_the_attack(folder, bench, number):
    """The attack runs again on the observation alone; the order of the batch is that of the closest result."""
    cell = MINIATURE.cells["quick"][number]
    batch, seen = cell.shared(bench, 0, cell.knowledge)
    guess = cell.attack(seen, seed=attack_seed(bench.chance(0)))
    assert [step for step, _ in guess.iterates] == list(cell.frames)
    film = sheet(folder, cell)
    for place, (_, inputs) in enumerate([*guess.iterates, (0, guess.inputs)]):
        both = [inputs.clamp(0, 1), inputs.flip(0).clamp(0, 1)]
        assert min(float((film[:, place] - one).abs().max()) for one in both) < 0.01
    assert float((film[:, -1] - batch.inputs).abs().max()) < 0.01
    assert float((film[:, 0] - batch.inputs).abs().mean()) > 0.2  # noise


def test_steps_of_a_film():
    assert film_steps(60) == (0, 1, 2, 3, 6, 10, 19, 33)
    assert film_steps(1) == (0,)


def columns(classes, size, examples):
    """The derivative of the gradient of one linear layer with softmax; images of `size` values."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(size, classes)).double()
    batch = Batch(torch.rand(examples, 1, 1, size).double(), torch.arange(examples) % classes)
    return derivative(Client(model), batch, 0)[0]


@pytest.mark.parametrize("examples", [1, 2, 4])
def test_the_rank_of_a_linear_layer(examples, monkeypatch):
    """With two classes both rows of the gradient are opposite: D + 1 numbers remain, whatever the batch."""
    found = columns(2, 12, examples)
    assert found.shape == (12 * examples, 26)
    assert numerical_ranks(gram_of(found), (1e-6,)) == (min(12 * examples, 13),)
    many = columns(20, 12, examples)
    assert numerical_ranks(gram_of(many), (1e-6,)) == (12 * examples,)
    monkeypatch.setattr(rank_cells, "BUCKETS", 200)
    hashed = columns(20, 12, examples)
    assert hashed.shape == (12 * examples, 200)
    assert numerical_ranks(gram_of(hashed), (1e-6,)) == (12 * examples,)


def test_the_rank_counts_singular_values():
    known = torch.diag(10.0 ** -torch.arange(9).double())
    turned = torch.linalg.qr(torch.randn(30, 30, generator=torch.Generator().manual_seed(0)).double())[0]
    matrix = turned[:, :9] @ known @ turned[:9, :9].T
    for one in (matrix, matrix.T):
        assert numerical_ranks(gram_of(one), (0.5, 2e-3, 2e-6)) == (1, 3, 6)
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()  # a block of 2 x 2
    assert rank_cells._positive(torch.block_diag(swap, -swap, swap)) == 3


def test_a_cell_that_needs_larger_images_says_so(bench):
    assert "the data has 32" in RankCell("lenet", 1, 64).missing(bench)


def test_claims_about_a_number(result):
    above, below = result.comparisons[-2:]
    assert result.difference(above).mean == 0.5
    result = replace(result, by_seed={RANK.name: {seed: {"rank": 0.7 + 0.1 * seed} for seed in range(3)}})
    assert result.difference(above).mean == pytest.approx(0.3)
    assert difference_in_words(result, above).endswith("confirmed")
    assert difference_in_words(result, below).endswith("contradicted")
    assert ONE not in {name for one in result.comparisons for name in one.cells}  # this cell is not in the miniature


def test_the_page_shows_the_film_and_an_animation_at_rest(result, folder):
    page = (folder / "study.html").read_text(encoding="utf-8")
    assert write_study(result, folder).read_text(encoding="utf-8") == page
    frames = len(FILMED.frames)
    assert f'alt="{MLP}, image 1: start"' in page
    assert f'alt="{MLP}, image 1: step 1"' in page
    assert f'alt="{_prior(PRIOR)}, image 2: ground truth"' in page
    assert len(re.findall(rf'alt="{re.escape(MLP)}, image 1: (?!animation)', page)) == frames + 2
    moving = re.findall(r"<details><summary>Play</summary>(.*?)</details>", page)
    assert len(moving) == 3
    assert "<details open" not in page
    assert "<script" not in page
    assert all('<source media="(prefers-reduced-motion: reduce)"' in one for one in moving)
    assert f'alt="{MLP}, image 1: animation from the start to the result"' in moving[0]
    source = re.search(r'<img src="data:image/png;base64,([^"]+)"', moving[0])[1]
    with Image.open(io.BytesIO(base64.b64decode(source))) as image:
        assert image.n_frames > 3
    still = re.search(r'srcset="data:image/png;base64,([^"]+)"', moving[0])[1]
    with Image.open(io.BytesIO(base64.b64decode(still))) as image:
        assert getattr(image, "n_frames", 1) == 1


def test_a_table_leaves_out_cells_that_have_none_of_its_columns(folder):
    text = (folder / "study.md").read_text(encoding="utf-8")
    images, ranks = text.split("## Rank of the derivative")
    assert "rank, lenet, B 1, 8 pixels" not in images
    assert f"| {MLP} |" in images
    assert f"| {MLP} |" not in ranks


def test_a_damaged_film_is_named(result, tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (7, 5)).save(tmp_path / "pictures" / f"{film_of(identity(FILMED))}.png")
    with pytest.raises(AuditError, match="not a sheet of 5 square images"):
        write_study(result, tmp_path)
