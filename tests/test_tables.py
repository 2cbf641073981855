"""Rows of tables: their columns, their encoding, their metrics, and where they come from."""

import math
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradaudit import metrics
from gradaudit.data.sources import SOURCES
from gradaudit.data.sources.table_files import invented_people
from gradaudit.values.columns import Column, TableLayout
from gradaudit.values.errors import AuditError

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
        (("old", "red", 1.0), "numeric, but contains"),
        ((math.nan, "red", 1.0), "numeric, but contains nan"),
        (("inf", "red", 1.0), "numeric, but contains 'inf'"),
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
    with pytest.raises(AuditError, match="rows have 4 numbers, but the table's columns need 5"):
        metrics.cell_accuracy(torch.zeros(1, 4), torch.zeros(1, 5), LAYOUT)


def test_the_built_in_table_is_the_same_every_time():
    table = invented_people(50)
    assert table == invented_people(50)
    assert table.rows != invented_people(50, seed=1).rows
    source = SOURCES["table"]().open()
    assert len(source) == 1000
    assert source.class_names == ("no", "yes")
    assert 0.2 < source.labels.double().mean() < 0.8
    assert "synthetic" in source.description


def write(tmp_path, text, name="t.csv"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


CSV = "code,age,town,class\n1, 30,Ulm,good\n2,40,?,bad\n1,50,Ulm,good\n"
WHOLE = CSV.replace("?", "Bonn")


def test_columns_are_told_from_their_cells(tmp_path):
    source = SOURCES["table"](path=write(tmp_path, CSV), categorical=("code",), missing="category").open()
    code, age, town = source.layout.columns
    assert code.categories == ("1", "2")
    assert (age.mean, age.minimum, age.maximum) == (40, 30, 50)
    assert age.std == pytest.approx((200 / 3) ** 0.5)
    assert town.categories == ("?", "Ulm")
    assert source.class_names == ("bad", "good")
    assert source.labels.tolist() == [1, 0, 1]
    assert source.shape == (5,)


def test_a_label_column_and_columns_left_out(tmp_path):
    source = SOURCES["table"](path=write(tmp_path, CSV), label="class", ignore=("code", "town")).open()
    assert [column.name for column in source.layout.columns] == ["age"]
    assert source.class_names == ("bad", "good")


def test_the_control_is_the_mode_and_the_mean_of_the_others(tmp_path):
    source = SOURCES["table"](path=write(tmp_path, CSV), categorical=("code",), missing="category").open()
    assert source.layout.decode(source.common_except([1])[None]) == [("1", pytest.approx(40), "Ulm")]
    assert source.layout.decode(source.common_except([0, 0])[None]) == [("1", pytest.approx(45), "?")]
    assert source.common_except([0, 1, 2]) is None


@pytest.mark.parametrize(
    ("text", "options", "complaint"),
    [
        ("a,b\n", {}, "header and at least one row"),
        ("a,a\n1,2\n", {}, "names a column twice"),
        ("a,b\n1,2\n\n3\n", {}, "t.csv, line 4: has 1 cells, the header 2"),
        ("a,b\n1,2,3\n", {}, "line 2: has 3 cells, the header 2"),
        (",b\n0,2\n", {}, "column 1 has no name; name it, or write the file without an index"),
        ("5.1,3.5,1\n5,3,1\n", {}, "needs a header; its first row is 5.1, 3.5, 1"),
        ('a,b\n1,2\n"3,4\n', {}, "line 3: unexpected end of data; fix its quotes"),
        ('a,b\n"1"x,2\n', {}, "line 2: ',' expected after '\"'; fix its quotes"),
        ("a,b\n" + "1" * 140_000 + ",2\n", {}, "line 2: field larger than field limit"),
        ("a,b\n1,2\n3\0,4\n", {}, "not UTF-8 text, from line 3"),
        (",".join(f"c{i}" for i in range(10_001)) + "\n1\n", {}, "has 10001 columns, more than 10000"),
        (CSV, {}, r"t.csv, line 3, column town: '\?' is a missing value. .* missing: category, or missing: drop"),
        (CSV, {"missing": "keep"}, "table.missing: should be category or drop. Found 'keep'"),
        ("a,b\n?,1\n", {"missing": "drop"}, "has no row without a missing cell"),
        ("a,b\nx,1\ny,NA\n", {"missing": "category"}, "line 3, column b: 'NA' is not a class; omit such rows"),
        ("a,b\n1,1\n2,1\n?,1\n", {"missing": "category"}, r"contains numbers, but '\?' in line 4.*missing: drop"),
        ("a,b\n1,1\n2,1\n" + '"1,234",1\n', {}, r"contains numbers, but '1,234' in line 4.*categorical: \[a\]"),
        ("a,b\n1,1\n2,1\n0x10,1\n", {}, "a contains numbers, but '0x10' in line 4"),
        ("a,b\n1,1\n2,1\n1_0,1\n", {}, "a contains numbers, but '1_0' in line 4"),
        ("a,b\n1,1\n2,1\n٣,1\n", {}, "a contains numbers, but '٣' in line 4"),
        ("a,b\n1,1\n2,1\ninf,1\n", {}, "a contains numbers, but 'inf' in line 4"),
        ("a,b\n1,1\n\n1e400,1\n", {}, "a contains 1e400 in line 4, a number that is out of range"),
        ("a,b\nx,1\ny,0.5\n", {}, "the label column b holds 0.5, so it is a measurement. Name the column"),
        ("a,b\n" + "x,1\n" * 25 + "".join(f"x,{i}\n" for i in range(30)), {}, "30 different values in 55 rows"),
        ("a,b\n" + "".join(f"x,{i % 201}\n" for i in range(900)), {}, "201 different values in 900 rows"),
        (CSV, {"label": "klass"}, r"table.label: .* no column 'klass'. It has code, age, town, class"),
        (CSV, {"categorical": ("x",)}, "table.categorical: .* no column 'x'"),
        ("b\n1\n", {}, "no column besides its label"),
        ("a,b\nnan,1\n2,1\n", {}, "line 2, column a: 'nan' is a missing value"),
        ("a,b\n" + "".join(f"n{i},1\n" for i in range(201)), {}, r"201 categories.*ignore: \[a\]"),
    ],
)
def test_files_that_cannot_be_used_say_why(tmp_path, text, options, complaint):
    with pytest.raises(AuditError, match=complaint):
        SOURCES["table"](path=write(tmp_path, text), **options).open()


@pytest.mark.parametrize("cell", ["", "NA", "N/A", "nan", "NaN", "None", "null", "?", "-", " "])
def test_a_missing_cell_is_what_the_rule_says(tmp_path, cell):
    path = write(tmp_path, f"town,age,class\nUlm,1,a\n{cell},2,b\nBonn,3,a\n")
    with pytest.raises(AuditError, match=r"line 3, column town: .* is a missing value"):
        SOURCES["table"](path=path).open()
    kept = SOURCES["table"](path=path, missing="category").open()
    assert kept.layout.columns[0].categories == tuple(sorted(("Ulm", "Bonn", cell.strip())))
    left = SOURCES["table"](path=path, missing="drop").open()
    assert left.layout.columns[0].categories == ("Bonn", "Ulm")
    assert left.layout.columns[1].mean == 2
    assert left.labels.tolist() == [0, 0]
    assert "2 rows of the file t.csv (1 with a missing cell omitted)" in left.description
    assert len(SOURCES["table"](path=path, ignore=("town",)).open()) == 3


def test_quotes_newlines_and_a_byte_order_mark_belong_to_the_format(tmp_path):
    (tmp_path / "t.csv").write_bytes('\ufeffname,class\r\n"a ""b""\nc", x\r\n"d, e",y\r\n'.encode())
    source = SOURCES["table"](path=tmp_path / "t.csv").open()
    assert source.layout.columns[0].name == "name"
    assert source.layout.columns[0].categories == ('a "b"\nc', "d, e")
    assert source.class_names == ("x", "y")


def test_labels_of_one_value_are_one_class(tmp_path):
    source = SOURCES["table"](path=write(tmp_path, "a,b\n1,1\n2,1.0\n3,0\n")).open()
    assert source.class_names == ("0", "1")
    assert source.labels.tolist() == [1, 1, 0]


def test_the_widest_table_is_encoded_quickly(tmp_path):
    header = ",".join(f"c{i}" for i in range(9_999))
    rows = "".join(",".join(str(i + row) for i in range(9_998)) + f",{row}\n" for row in range(2))
    source = SOURCES["table"](path=write(tmp_path, f"{header}\n{rows}")).open()
    assert source.layout.slices[-1] == slice(9_997, 9_998)
    assert source.rows.shape == (2, 9_998)


CSV_TEXT = st.text(alphabet="ab1,\n\r\"'?.-e0 \t\ufeff٣\0", max_size=40)


@given(CSV_TEXT | st.text(max_size=40), st.sampled_from(["csv", "tsv"]), st.sampled_from([None, "category", "drop"]))
def test_any_text_is_a_table_or_refused(text, suffix, missing):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"t.{suffix}")
        path.write_bytes(f"a,b\n{text}".encode("utf-8", "surrogatepass"))
        try:
            source = SOURCES["table"](path=path, missing=missing).open()
        except AuditError as error:
            assert str(error).startswith("table")  # noqa: PT017
        else:
            assert source.rows.isfinite().all()
            assert source.labels.max() < len(source.class_names)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AuditError, match=r"table: cannot read .*gone.csv: No such file"):
        SOURCES["table"](path=tmp_path / "gone.csv").open()


def test_the_fingerprint_tells_tables_apart(tmp_path):
    first = SOURCES["table"](path=write(tmp_path, WHOLE)).open().fingerprint()
    assert first == SOURCES["table"](path=write(tmp_path, WHOLE)).open().fingerprint()
    assert first != SOURCES["table"](path=write(tmp_path, WHOLE.replace("50", "51"))).open().fingerprint()


def test_real_tables(shared_data):
    adult = SOURCES["table"](path=shared_data / "adult.csv", missing="category").open()
    assert (len(adult), len(adult.layout.columns), adult.class_names) == (12_000, 14, ("<=50K", ">50K"))
    assert adult.rows.shape == (12_000, adult.layout.width)
    german = SOURCES["table"](path=shared_data / "german_credit.csv").open()
    with pytest.raises(AuditError, match=r"column workclass: '\?' is a missing value"):
        SOURCES["table"](path=shared_data / "adult.csv").open()
    with pytest.raises(AuditError, match=r"label column zgpa holds .*, so it is a measurement"):
        SOURCES["table"](path=shared_data / "law_school.csv", label="zgpa").open()
    assert (len(german), len(german.layout.columns), german.class_names) == (800, 20, ("1", "2"))


@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_cell_with_a_broken_number_is_not_right_by_luck(place, broken):
    """The largest of three numbers is a NaN wherever it stands, also where the truth is; infinity is a number."""
    truth = LAYOUT.encode(ROWS[:1])
    guess = truth.clone()
    guess[0, place] = broken
    right = int(guess[0, 1:4].nan_to_num(posinf=2, neginf=-2).argmax()) == int(truth[0, 1:4].argmax())
    assert metrics.cells_right(guess, truth, LAYOUT).tolist() == [[True, right and not math.isnan(broken), True]]


def test_costs_are_the_share_of_wrong_cells():
    truth = LAYOUT.encode(ROWS[:2])
    assert metrics.row_costs(truth, truth, LAYOUT).diagonal().tolist() == [0, 0]
    wrong = truth.clone()
    wrong[:, 0] += 5
    assert metrics.row_costs(wrong, truth, LAYOUT).diagonal().tolist() == pytest.approx([1 / 3, 1 / 3])
