"""The sweep file: every combination of its grid once, and one line for everything that does not fit."""

import re

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gradaudit.audit.config import make_config
from gradaudit.audit.sweep_file import canonical, combinations, read_sweep, value_in_words
from gradaudit.values.errors import AuditError

BASE = {
    "data": {"source": "photographs"},
    "model": {"name": "lenet"},
    "knowledge": ["priors", "LABELS"],
    "defenses": [{"name": "gaussian-noise", "std": 0.1}],
    "attacks": [{"name": "dlg", "set": {"stages.0.steps": 5}}, "idlg"],
}


@pytest.fixture
def read(tmp_path):
    def read(more, changes=(), **options):
        path = tmp_path / "sweep.yaml"
        path.write_text(more if isinstance(more, str) else yaml.safe_dump({**BASE, **more}, sort_keys=False))
        return read_sweep(path, changes, **options)

    return read


def test_a_grid_is_a_product_whose_last_key_varies_fastest(read):
    found = read({"grid": {"defenses.0.std": [0.001, 0.1], "attacks.0.name": ["dlg", "tag"]}})
    assert found.grid == {"defenses.0.std": (0.001, 0.1), "attacks.0.name": ("dlg", "tag")}
    assert [tuple(cell.at.values()) for cell in found.cells] == [
        (0.001, "dlg"),
        (0.001, "tag"),
        (0.1, "dlg"),
        (0.1, "tag"),
    ]
    assert [cell.number for cell in found.cells] == [0, 1, 2, 3]
    last = found.cells[3]
    assert last.name == "cell 4 (defenses.0.std=0.1, attacks.0.name=tag)"
    assert last.config.defenses == ({"name": "gaussian-noise", "std": 0.1},)
    assert [entry.name for entry in last.config.attacks] == ["tag", "idlg"]
    assert last.config.attacks[0].set == {"stages.0.steps": 5}  # the fields of the entry stay
    assert found.base == BASE


def test_lists_of_zip_go_together_and_are_one_factor(read):
    found = read({"grid": {"seed": [1, 2]}, "zip": {"data.batch_size": [1, 8], "attacks.0.seeds": [4, 2]}})
    assert found.zipped == ("data.batch_size", "attacks.0.seeds")
    assert [tuple(cell.at.values()) for cell in found.cells] == [(1, 1, 4), (1, 8, 2), (2, 1, 4), (2, 8, 2)]
    assert found.cells[1].config.attacks[0].set == {"stages.0.steps": 5, "seeds": 2}
    alone = read({"zip": {"seed": [1, 1, 2], "repeats": [1, 2, 2]}})
    assert [tuple(cell.at.values()) for cell in alone.cells] == [(1, 1), (1, 2), (2, 2)]


def test_values_may_be_anything(read):
    found = read({"grid": {"defenses": [[], [{"name": "clip", "norm": 1}]], "public_data": [None, {"source": "npz"}]}})
    assert [len(cell.config.defenses) for cell in found.cells] == [0, 0, 1, 1]
    assert [cell.config.public_data for cell in found.cells] == [None, {"source": "npz"}] * 2
    assert found.cells[2].name == "cell 3 (defenses=clip norm=1, public_data=null)"


def test_a_cell_equals_the_audit_that_set_would_make(read):
    found = read({"grid": {"attacks.0.stages.0.steps": [7], "training.batch_norm": ["train"]}}, ["seed=3"])
    changes = ["seed=3", "attacks.0.stages.0.steps=7", "training.batch_norm=train"]
    assert found.cells[0].config == make_config(BASE, changes)


def test_set_changes_the_lists_of_values_too(read):
    found = read({"grid": {"seed": [1, 2]}, "zip": {"repeats": [1]}}, ["grid.seed=[4]", "zip.clients=[2]"])
    assert found.grid == {"seed": (4,), "repeats": (1,), "clients": (2,)}
    assert read({}, ["grid.training.batch_norm=[eval, train]"]).grid == {"training.batch_norm": ("eval", "train")}


PREFIX = {"grid": {"defenses.0": [{"name": "clip", "norm": 1}], "defenses.0.std": [1]}}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "grid: is missing. Give at least one key of the audit file with a list of values."),
        ({"grid": {}}, "grid: must be a mapping of keys of the audit file to lists of values. It is empty."),
        ({"grid": None}, "It is empty."),
        ({"grid": {"seed": [1]}, "zip": {}}, "zip: must be a mapping"),
        ({"grid": [1]}, "grid: must be a mapping of keys of the audit file to lists of values. Found [1]."),
        ({"grid": {"seed": []}}, "grid.seed: is an empty list. Give at least one value, or remove the key."),
        ({"grid": {"seed": 3}}, "grid.seed: must be a list of values, such as [0.01, 0.1]. Found 3."),
        ({"grid": {"seed": [1, 2, 1]}}, "grid.seed: holds 1 twice. Remove one of them."),
        ({"grid": {"defenses.0.std": [1, 1.0]}}, "grid.defenses.0.std: holds 1.0 twice."),
        ({"grid": {"seed": [1]}, "zip": {"seed": [2]}}, "zip.seed: is also grid.seed. Remove one of them."),
        ({"grid": {"attacks.0.seeds": [1], "attacks.00.set.seeds": [1]}}, "is also grid.attacks.0.seeds."),
        ({"zip": {"seed": [1, 2], "repeats": [1, 2, 3]}}, "zip.repeats: has 3 values, but zip.seed has 2."),
        (PREFIX, "grid.defenses.0.std: would change what defenses.0 sets. Remove one of them, or write the values of"),
        ({"grid": {"defenses.0.std": [1], "defenses": [[]]}}, "grid.defenses.0.std: would change what defenses sets."),
        ({"grid": {"attacks.0.seeds": [1], "attacks.0.set": [{}]}}, "grid.attacks.0.seeds: would change what"),
        ({"zip": {"seed": [1, 1], "repeats": [2, 2]}}, "are the same audit. Remove one of them."),
        ({"grid": {"attacks": [["dlg"], [{"name": "dlg"}]]}}, "cell 1 (attacks=dlg) and cell 2 (attacks=dlg) are the"),
        (
            {"grid": {"modell.name": ["lenet"]}},
            "grid.modell.name: with modell.name=lenet: modell: unknown key. Did",
        ),
        ({"grid": {"training.kindd": ["fedavg"]}}, "grid.training.kindd: unknown key. Did you mean kind?"),
        (
            {"grid": {"training.kind": ["fedsdg"]}},
            "grid.training.kind: should be 'fedsgd' or 'fedavg'. Found 'fed",
        ),
        ({"grid": {"training.kind": ["fedavg"]}}, "with training.kind=fedavg: training: fedavg needs a learning_rate."),
        ({"grid": {"defenses.3.std": [1]}}, "grid.defenses.3.std: no entry 3. The list has 1, counted from 0."),
        ({"grid": {"seed.x": [1]}, "seed": 0}, "grid.seed.x: x cannot be set, as the value above it is not a mapping."),
        ({"zip": {"seed": [-1]}}, "zip.seed: should be greater than or equal to 0. Found -1."),
        ({"grid": {"seed": [1]}, "modell": 3}, "sweep.yaml: modell: unknown key. Did you mean model?"),
        ("- a\n", "must be a mapping with an audit file and a grid."),
        ("grid: {seed: [1]\nx: 2", "sweep.yaml, line "),
    ],
)
def test_refuses_in_one_line(read, more, message):
    with pytest.raises(AuditError, match=re.escape(message)) as caught:
        read(more)
    assert "\n" not in str(caught.value)
    assert "sweep.yaml" in str(caught.value)


def test_refuses_set_of_a_key_of_the_grid(read):
    with pytest.raises(AuditError, match=r"--set seed: is a key of the grid. Change its values with --set grid.seed="):
        read({"grid": {"seed": [1, 2]}}, ["seed=3"])


def test_many_cells_need_yes_and_are_counted_before_they_are_made(read):
    numbers = list(range(1, 101))
    wide = {"seed": [*numbers, 0], "data.batch_size": numbers}
    with pytest.raises(AuditError, match=r"grid: makes 10 100 cells\. Add --yes to run them all, or shorten"):
        read({"grid": wide})
    keys = [f"data.x{i}" for i in range(50)]
    for many in (False, True):
        with pytest.raises(AuditError, match=r"grid: makes about 10\^100 cells. At most 100 000 are possible"):
            read({"grid": dict.fromkeys(keys, numbers)}, many=many)


def test_yes_allows_many_cells(read, monkeypatch):
    monkeypatch.setattr("gradaudit.audit.sweep_file.MOST_CELLS", 3)
    grid = {"grid": {"seed": [1, 2], "repeats": [1, 2]}}
    assert len(read(grid, many=True).cells) == 4
    with pytest.raises(AuditError, match="makes 4 cells"):
        read(grid)


def test_an_audit_with_a_grid_names_the_command_that_takes_it():
    for part in ("grid", "zip"):
        with pytest.raises(AuditError, match=f"{part}: is a key of a sweep. Run `gradaudit sweep`, or remove the key."):
            make_config({**BASE, part: {"seed": [1]}})


SIZES = st.lists(st.integers(1, 4), min_size=0, max_size=4)


@given(SIZES, st.integers(0, 3), st.integers(1, 4), st.booleans())
def test_every_combination_once(sizes, zipped, length, first):
    product = {f"p{i}": tuple(range(size)) for i, size in enumerate(sizes)}
    together = {f"z{i}": tuple(range(length)) for i in range(zipped)}
    grid = {**together, **product} if first else {**product, **together}
    found = list(combinations(grid, tuple(together)))
    count = length if together else 1
    for size in sizes:
        count *= size
    assert len(found) == count == len({canonical(at) for at in found})
    for at in found:
        assert list(at) == list(grid)
        assert all(value in grid[key] for key, value in at.items())
        assert len({at[key] for key in together}) <= 1  # the first with the first, the second with the second


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=4), x, max_size=3),
)


@given(PLAIN, PLAIN)
def test_equal_values_have_one_text_and_others_do_not(one, other):
    def kinds(value):
        """`True == 1` in Python, but not in a file."""
        if isinstance(value, (list, dict)):
            entries = value if isinstance(value, list) else map(list, sorted(value.items()))
            return (type(value), [kinds(entry) for entry in entries])
        return (type(value) is bool, value)

    assert (canonical(one) == canonical(other)) == (kinds(one) == kinds(other))
    assert len(value_in_words(one)) <= 60


@given(st.dictionaries(st.text(max_size=8), PLAIN, max_size=3), st.sampled_from(["grid", "zip"]))
def test_no_grid_gives_a_traceback(tmp_path_factory, found, part):
    path = tmp_path_factory.getbasetemp() / "sweep.yaml"
    path.write_text(yaml.safe_dump({**BASE, part: found}))
    problem = ""
    try:
        read_sweep(path)
    except AuditError as error:
        problem = str(error)
    assert "\n" not in problem
