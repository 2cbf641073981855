"""The documentation cannot drift: generated pages are current, examples run, every command and name is there."""

import re
import runpy
from pathlib import Path

import pytest
import yaml

from gradaudit.attacks import ATTACKS, MULTI_MODAL
from gradaudit.audit.config import AuditConfig, make_config
from gradaudit.audit.plan import make_plan
from gradaudit.audit.sweep_file import read_sweep

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").glob("*.md")])

ELSEWHERE = r"flwr|nvflare|gradaudit\.capture\.nvflare|quickstart"  # tests/federation imports these


@pytest.fixture(scope="module")
def generated():
    return runpy.run_path(str(ROOT / "docs/generate.py"))


def test_the_reference_is_current(generated):
    written = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    assert generated["reference"]() == written, "run `make docs`"


def test_the_coverage_is_current(generated):
    written = (ROOT / "docs/coverage.md").read_text(encoding="utf-8")
    assert generated["coverage"]() == written, "run `make docs`"
    assert re.search(r"covers (\d+) of 36 attacks and (\d+) of 21 defenses", written)
    assert written.count("| arXiv:2003.14053 | `inverting-gradients`, ") == 1


def test_every_command_and_option_is_documented(generated):
    """Words, not layout: how help is laid out is typer's affair."""

    def words(text):
        return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*|^## gradaudit.*$", text, re.M))

    written = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    assert words(generated["commands"]()) == words(written), "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_audit_files_are_valid(page, tmp_path):
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        if re.search("^(grid|zip):", block, re.M):
            (tmp_path / "sweep.yaml").write_text(block)
            cells = read_sweep(tmp_path / "sweep.yaml").cells
            assert all(len(make_plan(cell.config, ROOT)) >= 1 for cell in (cells[0], cells[-1]))
            continue
        config = make_config(yaml.safe_load(block))
        assert isinstance(config, AuditConfig)
        if config.update is not None:
            continue  # its files are the reader's own
        assert len(make_plan(config, ROOT)) >= 1


def test_the_library_example_of_the_readme_runs(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    exec(compile(block, "README.md", "exec"), {})
    assert "dB" in capsys.readouterr().out


def test_every_key_of_the_audit_file_is_documented():
    text = (ROOT / "docs/audit-file.md").read_text(encoding="utf-8")
    for key in AuditConfig.model_fields:
        assert f"`{key}" in text


def test_the_readme_opens_with_the_picture_and_the_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.index("docs/demo.png") < text.index("make demo") < text.index("make test") < 1500
    assert (ROOT / "docs/demo.png").stat().st_size > 50_000


def test_the_readme_lists_every_attack():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.findall(
        r"`([a-z-]+)`", "".join(re.findall(r"^\| (?:images|text|tables|two mod).*?\|(.*?)\|", text, re.M))
    )
    assert sorted(listed) == sorted([*ATTACKS, *MULTI_MODAL])


def test_the_index_leads_to_every_page():
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_imports_of_the_examples_lead_somewhere(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S):
        lines = [line for line in block.splitlines() if re.match(rf"(from|import) (?!{ELSEWHERE})", line)]
        exec("\n".join(lines), {})


def test_the_files_that_the_architecture_names_exist():
    page = (ROOT / "docs/design.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.\w+)?)`", page))
    assert names
    for name in names:
        assert (ROOT / name).exists() or (ROOT / "src/gradaudit" / name).exists(), name


def test_the_architecture_draws_every_package():
    (drawing,) = re.findall(
        r"```\nsrc/gradaudit/\n(.*?)```", (ROOT / "docs/design.md").read_text(encoding="utf-8"), re.S
    )
    drawn = re.findall(r"^  ([a-z]+)/", drawing, re.M)
    assert sorted(drawn) == sorted(path.parent.name for path in (ROOT / "src/gradaudit").glob("*/__init__.py"))
