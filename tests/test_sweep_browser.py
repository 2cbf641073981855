"""The page of a sweep in a real browser: a number of a heat map leads to its images, and all text can be read."""

import math

import pytest

from browser_pipe import BROWSER, CONTRAST, OpenPage
from gradaudit.report.sweep_page import write_sweep
from sweep_cases import sweep

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium, chromium-browser or google-chrome on PATH")

VISIBLE = """
[...document.querySelectorAll('#cell-%d img')].filter(image => {
  const box = image.getBoundingClientRect();
  return box.top >= 0 && box.bottom <= innerHeight && image.complete && image.naturalWidth === 16;
}).length
"""


def gain(at, attack, repeat):
    """All shades from a full leak to none, one cell that cannot be judged, and one that has not run."""
    column, row = at["defenses.0.std"], at["data.batch_size"]
    if (column, row) == (6, 1):
        return math.nan
    return None if (column, row) == (6, 4) else 18 - 3 * column - row


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    findings, record = sweep(folder, {"defenses.0.std": range(7), "data.batch_size": [1, 2, 4]}, gain)
    with OpenPage(write_sweep(findings, record, folder), folder) as opened:
        yield opened


def test_a_number_of_the_heat_map_leads_to_its_images(page):
    assert page.value(VISIBLE % 17) == 0
    page.click('.heat a[href="#cell-17"]')
    page.wait_for("location.hash === '#cell-17'")
    page.wait_for(f"{VISIBLE % 17} === 3")  # ground truth, reconstruction and control
    assert "defenses.0.std=5, data.batch_size=2" in page.value("document.querySelector(':target h3').textContent")
    page.click(":target .back a")
    page.wait_for("location.hash === '#charts'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(page, scheme):
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    found = page.value(CONTRAST)
    assert {"shade-0", "shade-6"} <= set(page.value("[...document.querySelectorAll('.heat td')].map(n => n.className)"))
    assert sum(text.startswith("not run") for _, text, _ in found) >= 2
    assert [line for line in found if line[2] < 4.5] == []


def test_a_narrow_window_scrolls_the_map_and_not_the_page(page):
    page.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=False)
    assert page.value("document.documentElement.scrollWidth") <= 390
    page.call("Emulation.clearDeviceMetricsOverride")


def test_a_dot_of_a_line_leads_to_its_images(tmp_path):
    findings, record = sweep(tmp_path, {"defenses.0.std": [0, 0.001, 0.1]}, lambda at, *_: 5.0, repeats=2)
    with OpenPage(write_sweep(findings, record, tmp_path), tmp_path) as page:
        page.click('.lines a[href="#cell-3"] circle')
        page.wait_for("location.hash === '#cell-3'")
        page.wait_for(f"{VISIBLE % 3} === 6")
        for scheme in ("light", "dark"):
            page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            assert [line for line in page.value(CONTRAST) if line[2] < 4.5] == []
