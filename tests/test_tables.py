"""Rows of tables: their columns, their encoding, their metrics, and where they come from."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradaudit import metrics
from gradaudit.datasets import SOURCES
from gradaudit.datasets.tables import invented_people
from gradaudit.errors import AuditError
from gradaudit.tables import Column, TableLayout

LAYOUT = TableLayout(
    (
        Column("age", mean=40, std=10, minimum=18, maximum=90),
        Column("colour", ("blue", "green", "red")),
        Column("cm", mean=170, std=8),
    )
)
ROWS = [(50.0, "red", 170.0), (35.0, "blue", 186.0)]


def test_encoding_by_hand():
    assert LAYOUT.width == 5
    assert LAYOUT.slices == (slice(0, 1), slice(1, 4), slice(4, 5))
    torch.testing.assert_close(LAYOUT.encode(ROWS), torch.tensor([[1.0, 0, 0, 1, 0], [-0.5, 1, 0, 0, 2]]))
    assert LAYOUT.columns[0].bounds == (-2.2, 5)
    assert LAYOUT.columns[1].bounds == (0, 1)


@given(
    st.lists(st.tuples(st.floats(18, 90), st.sampled_from(["blue", "green", "red"]), st.floats(100, 230)), max_size=5)
)
def test_decoding_undoes_encoding(rows):
    for row, back in zip(rows, LAYOUT.decode(LAYOUT.encode(rows)), strict=True):
        assert back[1] == row[1]
        assert back[0] == pytest.approx(row[0], rel=1e-5)


def test_decoding_takes_the_likeliest_category():
    assert LAYOUT.decode(torch.tensor([[0.0, 0.2, 0.5, 0.3, 0.0]])) == [(40.0, "green", 170.0)]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ((1.0, "red"), "2 cells"),
        ((1.0, "pink", 1.0), "no category 'pink'"),
        (("old", "red", 1.0), "numeric, but holds"),
    ],
)
def test_rows_that_do_not_fit_are_refused(row, complaint):
    with pytest.raises(AuditError, match=complaint):
        LAYOUT.encode([row])


def test_cells_right_by_hand():
    truth = LAYOUT.encode(ROWS)
    guess = truth.clone()
    guess[0, 0] += 0.318
    guess[1, 0] += 0.320
    guess[0, 1:4] = torch.tensor([0.4, 0.1, 0.5])
    guess[1, 1:4] = torch.tensor([0.4, 0.5, 0.1])
    guess[:, 4] = torch.tensor([math.nan, math.inf])
    assert metrics.cells_right(guess, truth, LAYOUT).tolist() == [[True, True, False], [False, False, False]]
    assert metrics.cell_accuracy(guess, truth, LAYOUT).tolist() == pytest.approx([2 / 3, 0])
    assert metrics.row_match(truth, truth, LAYOUT).tolist() == [1, 1]


@given(st.permutations(range(6)), st.integers(0, 2**31))
def test_rows_find_their_guesses(order, seed):
    generator = torch.Generator().manual_seed(seed)
    ages, heights = torch.randperm(6, generator=generator), torch.randperm(6, generator=generator)
    truth = LAYOUT.encode(
        [(20.0 + 9 * a, "red", 150.0 + 9 * h) for a, h in zip(ages.tolist(), heights.tolist(), strict=True)]
    )
    guess = truth[list(order)].clone()
    guess[:, 1:4] = torch.tensor([1.0, 0.0, 0.0])
    found = metrics.assign_at_cost(metrics.row_costs(guess, truth, LAYOUT))
    assert torch.equal(guess[found][:, [0, 4]], truth[:, [0, 4]])


def test_rows_of_another_width_are_refused():
    with pytest.raises(AuditError, match="rows of 4 numbers, but the table's columns take 5"):
        metrics.cell_accuracy(torch.zeros(1, 4), torch.zeros(1, 5), LAYOUT)


def test_the_built_in_table_is_the_same_every_time():
    header, rows = invented_people(50)
    assert (header, rows) == invented_people(50)
    assert rows != invented_people(50, seed=1)[1]
    source = SOURCES["table"]().open()
    assert len(source) == 1000
    assert source.class_names == ("no", "yes")
    assert 0.2 < source.labels.double().mean() < 0.8
    assert "synthetic" in source.description


def write(tmp_path, text, name="t.csv"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


CSV = "code,age,town,class\n1, 30,Ulm,good\n2,40,?,bad\n1,50,Ulm,good\n"


def test_columns_are_told_from_their_cells(tmp_path):
    source = SOURCES["table"](path=write(tmp_path, CSV), categorical=("code",)).open()
    code, age, town = source.layout.columns
    assert code.categories == ("1", "2")
    assert (age.mean, age.minimum, age.maximum) == (40, 30, 50)
    assert age.std == pytest.approx((200 / 3) ** 0.5)
    assert town.categories == ("?", "Ulm")
    assert source.class_names == ("bad", "good")
    assert source.labels.tolist() == [1, 0, 1]
    assert source.shape == (5,)


def test_a_label_column_and_columns_left_out(tmp_path):
    source = SOURCES["table"](path=write(tmp_path, CSV), label="town", ignore=("code",)).open()
    assert [column.name for column in source.layout.columns] == ["age", "class"]
    assert source.class_names == ("?", "Ulm")


def test_the_control_is_the_mode_and_the_mean_of_the_others(tmp_path):
    source = SOURCES["table"](path=write(tmp_path, CSV), categorical=("code",)).open()
    assert source.layout.decode(source.common_except([1])[None]) == [("1", pytest.approx(40), "Ulm")]
    assert source.layout.decode(source.common_except([0, 0])[None]) == [("1", pytest.approx(45), "?")]
    assert source.common_except([0, 1, 2]) is None


@pytest.mark.parametrize(
    ("text", "options", "complaint"),
    [
        ("a,b\n", {}, "header and at least one row"),
        ("a,a\n1,2\n", {}, "names a column twice"),
        ("a,b\n1,2\n3\n", {}, "row 3: has 1 cells"),
        (CSV, {"label": "klass"}, r"table.label: .* no column 'klass'. It has code, age, town, class"),
        (CSV, {"categorical": ("x",)}, "table.categorical: .* no column 'x'"),
        ("b\n1\n", {}, "no column besides its label"),
        ("a,b\nnan,1\n2,1\n", {}, "column a holds a number that is NaN"),
        ("a,b\n" + "".join(f"n{i},1\n" for i in range(201)), {}, r"201 categories.*ignore: \[a\]"),
    ],
)
def test_files_that_cannot_be_used_say_why(tmp_path, text, options, complaint):
    with pytest.raises(AuditError, match=complaint):
        SOURCES["table"](path=write(tmp_path, text), **options).open()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AuditError, match=r"table: cannot read .*gone.csv: No such file"):
        SOURCES["table"](path=tmp_path / "gone.csv").open()


def test_the_fingerprint_tells_tables_apart(tmp_path):
    first = SOURCES["table"](path=write(tmp_path, CSV)).open().fingerprint()
    assert first == SOURCES["table"](path=write(tmp_path, CSV)).open().fingerprint()
    assert first != SOURCES["table"](path=write(tmp_path, CSV.replace("50", "51"))).open().fingerprint()


def test_real_tables(shared_data):
    adult = SOURCES["table"](path=shared_data / "adult.csv").open()
    assert (len(adult), len(adult.layout.columns), adult.class_names) == (12_000, 14, ("<=50K", ">50K"))
    assert adult.rows.shape == (12_000, adult.layout.width)
    german = SOURCES["table"](path=shared_data / "german_credit.csv").open()
    assert (len(german), len(german.layout.columns), german.class_names) == (800, 20, ("1", "2"))
