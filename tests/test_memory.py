import pytest

from gradaudit.values import memory
from gradaudit.values.errors import AuditError, printable


def test_refuses_what_the_machine_cannot_hold(monkeypatch):
    monkeypatch.setattr(memory, "memory_here", lambda: 3_000_000_000)
    memory.require_memory(3_000_000_000, "x", "Mend it.")
    with pytest.raises(AuditError, match=r"^x would need 12 TB of memory, and there are 3 GB. Mend it.$"):
        memory.require_memory(12 * 10**12, "x", "Mend it.")


def test_the_limit_of_a_container_counts(monkeypatch, tmp_path):
    (tmp_path / "max").write_text("max\n")
    monkeypatch.setattr(memory, "LIMITS", (tmp_path / "none", tmp_path / "max"))
    whole = memory.memory_here()
    assert whole > 2**28
    (tmp_path / "max").write_text("1000\n")
    assert memory.memory_here() == 1000


@pytest.mark.parametrize(("count", "text"), [(5, "5 bytes"), (1500, "1 kB"), (10**12, "1 TB"), (10**20, "100 EB")])
def test_units(count, text):
    assert memory.in_units(count) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("two\nlines", "two lines"), ("\x1b[31m", r"\x1b[31m"), ("\udcff", r"\udcff"), ("naïve 名", "naïve 名")],
)
def test_an_error_is_one_printable_line(text, shown):
    assert str(AuditError(text)) == printable(text) == shown
