import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gradaudit.audit.yaml_text import LARGEST, MOST_BYTES, decode_yaml, parse_yaml, write_yaml
from gradaudit.values.errors import AuditError

LAUGHS = "\n".join(f"{new}: &{new} [{', '.join(['*' + old] * 9)}]" for old, new in ("ab", "bc", "cd", "de", "ef", "fg"))
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=8)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LARGEST, LARGEST)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("2E5", 2e5),
        ("-1e+2", -100.0),
        (".5", 0.5),
        ("3", 3),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("-9223372036854775807", -LARGEST),
        ("a", "a"),
        ("no", "no"),
        ("1_000", "1_000"),
        ("0x_", "0x_"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("٣", "٣"),
        ("true", True),
        ("~", None),
        ("", None),
        ("# a remark", None),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("'5'", "5"),
        ("{a: &x {p: 1, q: 2}, b: {<<: *x, p: 3}}", {"a": {"p": 1, "q": 2}, "b": {"p": 3, "q": 2}}),
        ("{<<: [{p: 1}, {p: 2, q: 2}]}", {"p": 1, "q": 2}),
    ],
)
def test_values(text, value):
    assert parse_yaml(text, "x") == value
    assert type(parse_yaml(text, "x")) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "x, line 3: the key a occurs twice"),
        ("a: 1\nb: !!int abc", "x, line 2: 'abc' is no int"),
        ("!!bool maybe", "line 1: 'maybe' is no bool"),
        ("!!float ''", "line 1: '' is no float"),
        ("!!timestamp 1", "the tag tag:yaml.org,2002:timestamp has no meaning here"),
        ("!!python/object/apply:os.system [ls]", "python/object/apply:os.system has no meaning here"),
        ("!!binary aGk=", "binary has no meaning here"),
        ("!!set {a}", "set has no meaning here"),
        ("!own 1", "the tag !own has no meaning here"),
        ("a: &a [*a]", "line 1: too many values"),
        (f"a: &a [x]\n{LAUGHS}", "too many values"),
        ("[" * 60 + "]" * 60, "lists within lists"),
        ("[" * 1500, "nested too deeply"),
        ("a: 1\nb: 99999999999999999999", "line 2: 99999999999999999999 is out of range"),
        ("9223372036854775808", "out of range"),
        ("9" * 5000, r"999\.\.\. is out of range"),
        ("1e400", "1e400 is out of range"),
        (".nan", ".nan is out of range"),
        ("-.inf", "-.inf is out of range"),
        ("{[a]: 1}", "a key must be text"),
        ("1: 2", "a key must be text, not 1"),
        ("<<: 5", "<< takes a mapping"),
        ("a\n---\nb", "line 2: but found another document"),
        ("a:\n\tb: 1", r"line 2: found character '\\t'"),
        ("a: 1\nb: \x00", "line 2: contains the character #x0000"),
        (r'"\0"', r"a value contains the character '\\x00'"),
        (r'"\ud800"', r"a value contains the character '\\ud800'"),
        (r'"\Uffffffff"', "x: broken YAML"),
        ("*a", "line 1: found undefined alias"),
    ],
)
def test_refuses_in_one_line_that_names_the_line(text, message):
    with pytest.raises(AuditError, match=message) as caught:
        parse_yaml(text, "x")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff\xfea\x00", "line 1: not a text file"),
        (b"a: 1\nb: \xe9", "line 2: not a text file"),
        (b"#" * (MOST_BYTES + 1), "larger than 256 kB"),
    ],
)
def test_bytes_that_are_no_text(data, message):
    with pytest.raises(AuditError, match=f"x.*{message}"):
        decode_yaml(data, "x")


def test_a_byte_order_mark_is_no_part_of_the_first_key():
    assert decode_yaml(b"\xef\xbb\xbfa: 1", "x") == "a: 1"


@given(st.text(max_size=60) | st.text(alphabet="-:[]{}&*!<>|%@`'\"#,? \n\ta1.e+_~\\xUu0", max_size=40))
@example('"\\Uffffffff"')
def test_any_text_is_read_or_refused(text):
    try:
        parse_yaml(text, "x")
    except AuditError as error:
        assert str(error).startswith("x")  # noqa: PT017


@given(PLAIN)
@example({"1e-3": "1e-3", "a": "0o17"})
def test_what_is_written_reads_back(value):
    assert parse_yaml(write_yaml(value), "x") == value
