"""AFGI's means and edges: the edge map against scikit-image, the references, the oracle and how it is shown."""

import io
import re

import pytest
import torch
from rich.console import Console
from skimage import filters
from torch import nn

from conftest import linear_net, make_batch, smooth_net
from gradaudit import Batch, Client, Knowledge, Level, Normalisation
from gradaudit.audit.config import make_config
from gradaudit.commands.progress import TerminalListener, finding_lines
from gradaudit.data.sources import SOURCES
from gradaudit.inversion.parts.part import Progress
from gradaudit.inversion.parts.priors import ChannelMeans, Edges
from gradaudit.inversion.parts.priors.edges import edge_map, smoothed, sobel_magnitude
from gradaudit.models import build
from gradaudit.report import render
from gradaudit.values.errors import AttackFailed
from gradaudit.values.image_statistics import canny, grey, image_statistics
from gradaudit.values.types import LEVELS, ORACLE
from test_report_page import RUN, finding

NORMALISATION = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
AT = Progress(0, 10)


@pytest.fixture(scope="module")
def photographs():
    return SOURCES["photographs"](size=32, crops="whole").open()


def picture_client(name="fedavg-cnn"):
    torch.manual_seed(0)
    return Client(build(name, num_classes=10, channels=3, size=32), normalisation=NORMALISATION)


def test_smoothing_and_slopes_equal_scikit_image(photographs):
    shades = grey(photographs.stack(range(4))).double()
    for ours, shade in zip(smoothed(shades), shades, strict=True):
        theirs = filters.gaussian(shade.numpy(), sigma=1.4, truncate=1.2, mode="nearest")  # a radius of 2 pixels
        torch.testing.assert_close(ours, torch.from_numpy(theirs))
    for ours, shade in zip(sobel_magnitude(shades), shades, strict=True):
        theirs = 4 * 2**0.5 * filters.sobel(shade.numpy())  # whose kernels sum to 1, and whose root is of the mean
        torch.testing.assert_close(ours, torch.from_numpy(theirs), atol=1.1e-4, rtol=0)


def test_the_edge_map_has_a_gradient():
    pictures = torch.rand(2, 3, 6, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: edge_map(x, 0.5, 0.2), (pictures,))
    flat = torch.full((1, 3, 6, 6), 0.5, requires_grad=True)
    assert torch.isfinite(torch.autograd.grad(edge_map(flat, 0.5, 0.2).sum(), flat)[0]).all()


def test_the_edge_map_follows_cannys_edges(photographs):
    """Nearer to the hard edges of its own picture than to those of another, or of the same one shifted."""
    pictures = photographs.stack([i for i, share in enumerate(canny(photographs.stack(range(12)))) if share.any()])
    hard, soft = canny(pictures).float(), Edges().edges(pictures)
    own, other, shifted = ((soft.roll(by, at) - hard).square().mean() for by, at in ((0, 0), (1, 0), ((2, 2), (1, 2))))
    assert own < 0.75 * other
    assert own < 0.75 * shifted
    assert 1 < soft.mean() / hard.mean() < 3  # hard edges are one pixel wide


@pytest.mark.parametrize("prior", [ChannelMeans("oracle"), Edges(), Edges("oracle")], ids=repr)
def test_bound_priors_against_finite_differences(prior):
    batch = make_batch(2, channels=3)
    seen = Client(linear_net(10, 192), normalisation=NORMALISATION).share(batch, prior.needs)
    inputs = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    bound = prior.bind(seen)
    assert torch.autograd.gradcheck(lambda x: bound(x, AT), (inputs,))


def test_mean_references_by_hand():
    batch = make_batch(2, channels=3)
    client, plain = (Client(linear_net(10, 192), normalisation=n) for n in (NORMALISATION, Normalisation()))
    inputs = torch.stack([torch.full((2, 8, 8), value) for value in (1.0, 2.0, -1.0)], 1)
    assert ChannelMeans().bind(client.share(batch, Level.BASIC))(inputs, AT) == 1 + 4 + 1
    assert ChannelMeans().bind(plain.share(batch, Level.BASIC))(inputs, AT) == 0.25 + 2.25 + 2.25  # from mid grey
    public = torch.rand(5, 3, 8, 8)
    told = ChannelMeans().reference(client.share(batch, Knowledge.PUBLIC_DATA, public=public))
    torch.testing.assert_close(told, NORMALISATION.apply(public).mean((0, 2, 3)))
    true = client.normalisation.apply(batch.inputs).mean((0, 2, 3))
    torch.testing.assert_close(ChannelMeans("oracle").reference(client.share(batch, ORACLE)), true)
    alone = make_batch(1, channels=3)
    ratio = ChannelMeans("gradient").reference(client.share(alone, Knowledge.NOTHING))
    torch.testing.assert_close(ratio, client.normalisation.apply(alone.inputs).mean((0, 2, 3)))


@pytest.mark.parametrize(("name", "size", "most"), [("fedavg-cnn", 1, 0.5), ("fedavg-cnn", 4, 0.8), ("lenet", 1, 0.5)])
def test_the_gradient_gives_the_means_better_than_nothing(photographs, name, size, most):
    """Distance to the true means over that of 0, root mean square over twelve batches."""
    ours, zero = [], []
    for seed in range(12):
        batch = Batch(photographs.stack([(seed + i) % 12 for i in range(size)]), torch.arange(size) % 10)
        torch.manual_seed(seed)
        model = build(name, num_classes=10, channels=3, size=32)
        seen = Client(model, normalisation=NORMALISATION).share(batch, Knowledge.NOTHING)
        true = NORMALISATION.apply(batch.inputs).mean((0, 2, 3))
        ours.append((ChannelMeans("gradient").reference(seen) - true).square().sum())
        zero.append(true.square().sum())
    assert sum(ours) < most**2 * sum(zero)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Flatten(), nn.Linear(144, 10)),
            "no gradient of a bias|shares",
        ),
        (
            nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 10)),
            "takes the input unchanged",
        ),
    ],
    ids=["no bias", "no first layer"],
)
def test_the_gradient_says_why_it_gives_no_means(model, why):
    seen = Client(model).share(make_batch(1, channels=3), Level.BASIC)
    with pytest.raises(AttackFailed, match=why):
        ChannelMeans("gradient").bind(seen)


def test_edges_refresh_from_the_consensus_and_keep_their_state_per_run(photographs):
    truth = photographs.stack([0, 1])
    seen = picture_client().share(Batch(truth, torch.tensor([0, 1])), Level.BASIC)
    prior = Edges(every=1 / 4)
    one, other = prior.bind(seen), prior.bind(seen)
    inputs = NORMALISATION.apply(truth)
    shifted = inputs + torch.tensor([0.2, -0.2]).view(2, 1, 1, 1, 1)  # two seeds whose mean are the pictures
    one(inputs, Progress(0, 20, shifted))
    torch.testing.assert_close(one.reference, canny(truth).float())
    assert other.reference is None
    for step in (1, 4, 5):
        one(inputs, Progress(step, 20, torch.zeros_like(shifted)))
        assert one.reference.any() == (step < 5)
    leaf = inputs.clone().requires_grad_()
    one(leaf, Progress(10, 20, None)).backward()  # the guess itself, without a gradient to E_ref
    assert not one.reference.requires_grad
    assert leaf.grad.abs().sum() > 0


def test_true_edges_find_their_picture_where_the_order_is_not_known(photographs):
    """Labels that were inferred come in another order than the batch."""
    batch = Batch(photographs.stack([0, 1, 2]), torch.tensor([2, 0, 1]))
    client = picture_client()
    for knowledge, order in ((ORACLE, [2, 0, 1]), (ORACLE | Knowledge.LABELS, [0, 1, 2])):
        bound = Edges("oracle").bind(client.share(batch, knowledge))
        bound(NORMALISATION.apply(batch.inputs[[2, 0, 1]]), AT)
        assert torch.equal(bound.reference, canny(batch.inputs)[order].float())


def test_the_oracle_is_granted_by_its_flag_alone(photographs):
    batch = Batch(photographs.stack([0, 1]), torch.tensor([0, 1]))
    client = picture_client()
    assert all(not ORACLE & level for level in LEVELS.values())
    assert client.share(batch, ~ORACLE).image_statistics is None
    told = client.share(batch, ORACLE).image_statistics
    torch.testing.assert_close(told.channel_means, batch.inputs.mean((0, 2, 3)))
    assert told.edges.shape == (2, 32, 32)
    assert told.edges.dtype == torch.bool
    assert torch.equal(told.edges, image_statistics(batch.inputs).edges)
    for prior in (ChannelMeans("oracle"), Edges("oracle")):
        assert prior.needs == ORACLE
        with pytest.raises(AttackFailed, match="IMAGE_STATISTICS"):
            prior.bind(client.share(batch, Level.BASIC))


def test_the_audit_file_may_grant_it():
    raw = {"data": {"source": "photographs"}, "model": {"name": "lenet"}, "knowledge": ["priors", "IMAGE_STATISTICS"]}
    assert ORACLE in make_config(raw).granted


def red(page):
    """Whether the class `oracle` has a colour, looked up through the page's own variables, that is red."""
    rule = re.search(r"\.oracle \{[^}]*color: var\((--\w+)\)", page).group(1)
    value = re.search(rf"{rule}: #(\w{{6}})", page).group(1)
    r, g, b = (int(value[i : i + 2], 16) for i in (0, 2, 4))
    return r > 2 * max(g, b)


def test_the_page_shows_it_in_red(tmp_path):
    told = finding(tmp_path, needs=("IMAGE_STATISTICS",), knowledge=("BATCH_SIZE", "IMAGE_STATISTICS"))
    page = render([told], RUN, tmp_path)
    fact = "the true channel means and edge maps of the private images"
    assert f'<p class="detail oracle">Oracle: this adversary knows {fact}. No real adversary does.</p>' in page
    assert f'the batch size<span class="oracle">{fact}</span>' in page
    assert page.count('<span class="oracle">') == 2  # needed and granted
    assert red(page)
    assert 'oracle">' not in render([finding(tmp_path)], RUN, tmp_path)


@pytest.mark.parametrize("told", [True, False])
def test_the_terminal_shows_it_in_red(tmp_path, told):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system="standard", width=200)
    listener = TerminalListener(console, finding_lines)
    listener.end(finding(tmp_path, knowledge=("IMAGE_STATISTICS",) if told else ()), 1, 1)
    assert ("\x1b[1;31mOracle: this adversary" in screen.getvalue()) == told


def test_texts_and_rows_have_none():
    for prior in (ChannelMeans(), Edges()):
        seen = Client(smooth_net()).share(make_batch(), Level.BASIC)
        object.__setattr__(seen, "input_shape", (12,))
        with pytest.raises(AttackFailed, match="is for images"):
            prior.bind(seen)


def test_the_means_without_any_source_are_those_of_the_normalisation():
    """Zero for each channel in normalised space, which is the mean that the model was told of."""
    victim = Client(
        build("fedavg-cnn", num_classes=10, channels=3, size=16), normalisation=Normalisation((0.4,) * 3, (0.2,) * 3)
    )
    seen = victim.share(Batch(torch.rand(2, 3, 16, 16), torch.tensor([0, 1])), Level.BASIC)
    penalty = ChannelMeans(source="public").bind(seen)
    assert penalty(torch.zeros(2, 3, 16, 16), Progress(0, 1)).item() == pytest.approx(0, abs=1e-9)
    assert penalty(torch.ones(2, 3, 16, 16), Progress(0, 1)).item() > 0.1
