"""The cells of the studies of defenses: both attacks face one update, and the federation uses the defense."""

import numpy as np
import pytest

from gradaudit.client.federation_settings import Federation
from gradaudit.protocol.defenses import Defense
from gradaudit.protocol.defenses.top_k import TopK
from gradaudit.studies import STUDIES
from gradaudit.studies._bench import Bench
from gradaudit.studies._defense_cells import DefenseCell
from gradaudit.studies._sok_cells import gia_o

SMALL = Federation(clients=2, rounds=2, batch_size=4, examples=40, test_examples=20)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    generator = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("bench") / "data.npz"
    images = generator.integers(0, 256, (300, 16, 16, 3), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(300) % 4, class_names=np.array(list("abcd")))
    return Bench(path)


def cell(defense, steps=3):
    return DefenseCell("c", defense, gia_o(steps), "lenet", federation=SMALL)


def test_a_cell_measures_both_attacks_and_the_accuracy(bench):
    found = cell(TopK(0.5)).measure(bench, 0)
    assert found["advantage"] == found["adaptive.gain"] - found["naive.gain"] != 0
    assert found["naive.norm"] == found["adaptive.norm"]
    assert 0 <= found["accuracy"] <= 1
    assert found["labels"] is not None
    plain = cell(None).measure(bench, 0)
    assert not any(key.startswith("adaptive") for key in plain)
    assert plain["naive.norm"] > found["naive.norm"]


def test_the_federation_uses_the_defense(bench):
    """Sparse updates need fewer bits."""
    plain, sparse = (cell(one, 1)._trained(bench, 0).scores[-1] for one in (None, TopK(0.01)))
    assert 0 < sparse.bits < plain.bits / 10


def test_every_defense_of_the_literature_has_a_row():
    from gradaudit.protocol.defenses import DEFENSES

    rows = {type(one.defense) for one in STUDIES["defenses"].cells["default"] if one.defense is not None}
    own = {kind for kind in DEFENSES.values() if kind.requires != "nvflare"}
    assert rows == own
    assert all(issubclass(kind, Defense) for kind in rows)
