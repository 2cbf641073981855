"""The page in a real browser on a phone, a tablet, a screen and paper: what it says can be read, in grey too."""

from dataclasses import replace

import pytest

from browser_pipe import BROWSER, CONTRAST, OpenPage
from gradaudit.report import write
from gradaudit.values.finding import RunRecord
from gradaudit.values.types import Modality
from test_defended_page import BOUNDED
from test_report_browser import LONG, finding, written

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs chromium, chromium-browser or google-chrome on PATH")

SIZES = ((390, 780), (768, 1000), (1280, 860))
COLOURS_ALONE = """
[...document.querySelectorAll('.recovered')].filter(node => !/recovered/.test(node.textContent)).length
+ [...document.querySelectorAll('mark')].filter(node =>
    !getComputedStyle(node).textDecorationLine.includes('underline')).length
+ [...document.querySelectorAll('.dot.full')].filter(node =>
    getComputedStyle(node).fill === 'rgb(255, 255, 255)').length
"""
# Cells and drawings of the sections on the defenses that run over the edge of their section.
OUTSIDE = """
[...document.querySelectorAll('.effect-table th, .effect-table td, .bounded th, .bounded td, .bounded svg')]
.filter(node => node.getBoundingClientRect().right > node.closest('section').getBoundingClientRect().right + 1)
.map(node => node.textContent)
"""
CUT = """
[...document.querySelectorAll('img, .strip-row svg, .verdict')].filter(node => {
  for (let box = node; box; box = box.parentElement)
    if (getComputedStyle(box).breakInside.startsWith('avoid')) return false;
  return true;
}).length
"""


def widths(page):
    """Looks at a page in every size, and yields the size."""
    for width, height in SIZES:
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        assert page.value("document.documentElement.scrollWidth") <= width
        assert [line for line in page.value(CONTRAST) if line[2] < 4.5] == []
        bottom = (
            "Math.max(...[...document.querySelectorAll('.sentence')].map(node => node.getBoundingClientRect().bottom))"
        )
        assert page.value(bottom) < height  # all verdicts are on the first screen
        yield width, height


def test_the_first_screen_shows_verdict_example_and_gains_and_prints_whole(tmp_path):
    defended = replace(finding(tmp_path, "gaussian-noise std=0.01", 2), protection=BOUNDED)
    cases = [finding(tmp_path, "no defense", 1), defended]
    path = write(cases, RunRecord("An audit", "seed: 0\n", "test pictures", planned=2), tmp_path)
    with OpenPage(path, tmp_path) as page:
        for width, height in widths(page):
            images = (
                "[...document.querySelectorAll('.triple img')].map(image => image.getBoundingClientRect().toJSON())"
            )
            boxes = page.value(images)
            assert len({round(box["top"]) for box in boxes}) == 1  # side by side
            assert min(box["width"] for box in boxes) >= (95 if width == 390 else 150)
            assert max(box["bottom"] for box in boxes) < height
            assert page.value(OUTSIDE) == []
        assert page.value("document.querySelector('.first .strip-plot').getBoundingClientRect().bottom") < 860
        assert page.value(COLOURS_ALONE) == 0
        page.call("Emulation.clearDeviceMetricsOverride")
        page.call("Emulation.setEmulatedMedia", media="print")
        assert page.value(CUT) == 0


def test_texts_and_rows_are_read_on_the_first_screen(tmp_path):
    kinds = {Modality.TEXT: (), Modality.TABLE: tuple(f"column-{i}" for i in range(40))}
    paths = []
    for modality, columns in kinds.items():
        folder = tmp_path / modality
        folder.mkdir()
        case = written(folder, modality, columns, (LONG, LONG))
        paths.append(write([case], RunRecord("An audit", "", "test", planned=1), folder))
    with OpenPage(paths[0], tmp_path) as page:
        for path in paths:
            page.call("Page.navigate", url=path.as_uri())
            page.wait_for(f"document.readyState === 'complete' && location.href === '{path.as_uri()}'")
            for _ in widths(page):
                assert page.value("document.querySelectorAll('.versions dd').length") == 3
            assert page.value("document.querySelectorAll('.versions mark').length") == (24 if path == paths[0] else 8)
            assert page.value(COLOURS_ALONE) == 0
