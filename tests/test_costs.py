"""What a sweep says of cost: the Pareto front, the rule of the best setting, and the section of the page."""

import csv
import io
import json
import math
import re
from dataclasses import replace

import pytest

from browser_pipe import BROWSER, CONTRAST, OpenPage
from gradaudit.metrics import Interval
from gradaudit.report.album import Album
from gradaudit.report.cost_section import settings_of
from gradaudit.report.costs import bits_in_words
from gradaudit.report.pareto import CostPoint, best, front
from gradaudit.report.sweep_cells import swept
from gradaudit.report.sweep_page import write_sweep
from gradaudit.values.federation_result import FederationResult
from sweep_cases import sweep

STD = "defenses.0.std"
SETTINGS = {
    "clients": 4, "rounds": 2, "batch_size": 1, "examples": 60, "test_examples": 40, "seeds": 3, "alpha": None,
}  # fmt: skip


def point(accuracy, gain, *obstacles):
    def whole(value):
        return None if value is None else Interval(value, value - 0.1, value + 0.1, 3)

    return CostPoint("", whole(accuracy), whole(gain), obstacles)


def test_the_front_holds_what_no_other_beats():
    points = [point(0.9, 12), point(0.8, 5), point(0.7, 6), point(0.5, 1), point(0.5, 0.5), point(0.2, 0.5)]
    assert front(points) == (4, 1, 0)
    assert front([point(0.5, 1), point(0.5, 1)]) == (0, 1)  # equal ones beat each other in nothing
    assert front([point(None, 1), point(0.5, None)]) == ()


def test_the_best_is_the_most_accurate_without_an_obstacle():
    points = [point(0.9, 12, "recovered"), point(0.6, 2), point(0.7, 5), point(0.7, 3), point(None, 0)]
    assert best(points) == 3
    assert best([point(0.9, 12, "recovered"), point(None, 1)]) is None
    assert best([]) is None


def result(at, number, accuracy, bits, **changes):
    scores = ((0, 0.25, 0.0), (1, accuracy / 2, bits / 2), (2, accuracy, bits))
    name = f"{json.dumps(at)} {number}"
    found = FederationResult(name, "noise", number, scores, 1.0, 0.3, SETTINGS, 1.5, True, grid=at)
    return replace(found, **changes)


def federated(folder, gains, accuracies, *, bits=None, seeds=3, lost=(), plain=(), **options):
    """The findings, the record and the journal of a sweep over the strength of the noise.

    Args:
        gains: Strength -> gain in dB; `(naive, adaptive)` for two attacks.
        accuracies: Strength -> accuracy, to which the seeds add 0, 0.01, 0.02.
        lost: Pairs of strength and seed without a training.
        plain: Strengths that count as no defense.
    """

    def gain(at, attack, repeat):
        value = gains[at[STD]]
        value = value[attack == "adaptive"] if isinstance(value, tuple) else value
        return None if value is None else value + 0.1 * repeat

    attacks = ("naive", "adaptive")
    findings, record = sweep(folder, {STD: list(gains)}, gain, attacks=attacks, repeats=2, **options)
    findings = [
        replace(
            one,
            adaptive=one.attack == "adaptive",
            client="no defense" if one.grid[STD] in plain else f"noise {one.grid[STD]}",
            defended=one.grid[STD] not in plain,
        )
        for one in findings
    ]
    results = [
        result({STD: std}, n, accuracy + 0.01 * n, (bits or {}).get(std, 1e6), defended=std not in plain)
        for std, accuracy in accuracies.items()
        for n in range(seeds)
    ]
    kept = [one for one in results if (one.grid[STD], one.number) not in lost]
    lines = [json.dumps({"trial": one.trial, "result": one.to_json()}) + "\n" for one in kept]
    (folder / "federation.jsonl").write_text("".join(lines))
    return findings, replace(record, trainings=tuple(one.trial for one in results))


def section(folder, *arguments, **options):
    findings, record = federated(folder, *arguments, **options)
    page = write_sweep(findings, record, folder).read_text(encoding="utf-8").replace("\N{NO-BREAK SPACE}", " ")
    whole = page[page.index('<section class="costs">') :]
    whole = whole[: whole.index("</section>")]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr id=.*?</tr>", whole)]
    said = " ".join(re.search(r'<p class="sentence"><strong>(.*?)</strong> (.*?)</p>', whole).groups())
    return said, rows, whole, page


def test_the_best_setting_keeps_accuracy_and_hides_the_images(tmp_path):
    gains = {0: 20.0, 1: 2.0, 2: 1.0}
    said, rows, whole, _ = section(tmp_path, gains, {0: 0.9, 1: 0.8, 2: 0.7}, plain=(0,))
    assert said.startswith(f"Best setting: {STD}=1. Accuracy 81.0 % [78.5, 83.5], n = 3; worst attack +2.0 dB")
    assert [row[-1] for row in rows] == [
        "on the front; a private image was recovered", "best setting; on the front", "on the front",
    ]  # fmt: skip
    assert [row[2] for row in rows] == ["n/a", "−10.0 points [−10.0, −10.0]", "−20.0 points [−20.0, −20.0]"]
    assert whole.count("<svg") == 2
    assert whole.count('class="dot full"') == 1
    assert "reaches +6.0 dB" in whole


@pytest.mark.parametrize(
    ("gains", "options", "obstacle"),
    [
        ({0: 20.0, 1: (1.0, 20.0)}, {}, "a private image was recovered"),
        ({0: 20.0, 1: (1.0, None)}, {}, "attacks are missing or cannot be judged"),
        ({0: 20.0, 1: (1.0, math.nan)}, {}, "attacks are missing or cannot be judged"),
        ({0: 20.0, 1: 1.0}, {"lost": ((1, 2),)}, "trainings are missing"),
        ({0: 20.0, 1: 5.6}, {}, "the interval of a gain reaches +6.0 dB"),
    ],
)
def test_a_setting_with_an_obstacle_is_never_the_best(tmp_path, gains, options, obstacle):
    said, rows, _, page = section(tmp_path, gains, {0: 0.9, 1: 0.8}, plain=(0,), **options)
    assert said.startswith("Best setting: none. No setting fulfils the rule below")
    assert obstacle in rows[1][-1]
    assert ("Unfinished federation: 5 of 6 trainings." in page) == bool(options)


def test_a_model_that_has_not_learnt_is_never_the_best(tmp_path):
    """The guess of the most frequent class has 0.3; the seeds differ by 0.01."""
    said, rows, whole, _ = section(tmp_path, {0: 20.0, 1: 1.0, 2: 1.0}, {0: 0.9, 1: 0.31, 2: 0.33}, plain=(0,))
    assert said.startswith(f"Best setting: {STD}=2.")
    assert rows[1][-1] == "its accuracy is not above a guess of the most frequent class"
    assert "Without a defense, the accuracy" not in whole
    _, _, whole, _ = section(tmp_path, {0: 20.0, 1: 1.0}, {0: 0.3, 1: 0.3}, plain=(0,))
    assert "Without a defense, the accuracy is not above a guess: train for more rounds" in whole


def test_a_defense_that_only_naive_attacks_met_is_never_the_best(tmp_path):
    findings, record = federated(tmp_path, {0: 20.0, 1: 1.0}, {0: 0.9, 1: 0.8}, plain=(0,))
    naive = [replace(one, adaptive=False) for one in findings]
    points = [one.point for one in settings_of(swept(naive, record, Album(tmp_path)), record, tmp_path)]
    assert points[1].obstacles == ("no attack that knows the defense was run",)
    assert points[0].obstacles == ("a private image was recovered",)


def test_attacks_that_recover_nothing_anywhere_put_no_defense_to_a_test(tmp_path):
    said, rows, _, _ = section(tmp_path, {0: 1.0, 1: 0.5}, {0: 0.9, 1: 0.8}, plain=(0,))
    assert said == "Best setting: none. No attack recovered anything in any setting, so no defense was put to a test."
    assert [row[-1] for row in rows] == ["on the front", "on the front"]


def test_equal_bits_are_those_of_the_cheapest_setting(tmp_path):
    """The dense setting has sent as much after the first of its two rounds; the table and the CSV agree."""
    bits = {0: 2e6, 1: 1e6}
    _, rows, whole, _ = section(tmp_path, {0: 20.0, 1: 1.0}, {0: 0.8, 1: 0.6}, bits=bits, plain=(0,))
    assert "accuracy after 1 Mbit of each client" in whole
    assert [row[3].split(" %")[0] for row in rows] == ["40.5", "61.0"]
    assert [row[4] for row in rows] == ["2 Mbit", "1 Mbit"]
    table = list(csv.DictReader(io.StringIO((tmp_path / "sweep.csv").read_text())))
    found = {(row[STD], row["accuracy"][:5], row["accuracy_equal_bits"][:5], row["bits"]) for row in table}
    assert found == {("0", "0.81", "0.405", "2000000.0"), ("1", "0.61", "0.61", "1000000.0")}


def test_cells_of_one_training_are_one_setting(tmp_path):
    """The attack that leaks decides, whatever cell it is in."""
    grid = {STD: [0, 1], "attacks.0.name": ["dlg", "idlg"]}
    findings, record = sweep(tmp_path, grid, lambda at, attack, _: 20.0 if attack == "idlg" else 0.0)
    results = [result({STD: std}, n, 0.8, 1e6) for std in (0, 1) for n in range(3)]
    (tmp_path / "federation.jsonl").write_text("".join(json.dumps(one.to_json()) + "\n" for one in results))
    record = replace(record, trainings=tuple(one.trial for one in results))
    settings = settings_of(swept(findings, record, Album(tmp_path)), record, tmp_path)
    assert [len(one.cells) for one in settings] == [2, 2]
    assert [one.worst[0] for one in settings] == ["idlg", "idlg"]
    assert all(one.recovered for one in settings)


def test_a_damaged_line_of_a_training_is_skipped(tmp_path):
    findings, record = federated(tmp_path, {0: 20.0}, {0: 0.9})
    path = tmp_path / "federation.jsonl"
    path.write_text(path.read_text().replace("0.9,", '"much",', 1))
    with pytest.warns(UserWarning, match=r"federation\.jsonl, line 1: is not a trial"):
        page = write_sweep(findings, record, tmp_path).read_text()
    assert "Unfinished federation: 2 of 3 trainings." in page


def test_a_result_is_one_line_of_json():
    found = result({STD: 0.5}, 1, 0.75, 3e6, chance=math.nan, diverged=2)
    again = FederationResult.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False)))
    assert again.scores == found.scores
    assert again.diverged == 2
    assert math.isnan(again.chance)
    assert [found.accuracy_within(bits) for bits in (0, 1.5e6, 2.9e6, 3e6)] == [0.25, 0.375, 0.375, 0.75]
    with pytest.raises(ValueError, match="scores"):
        FederationResult.from_json({**found.to_json(), "scores": [[0, 1.5, 0.0]]})


def test_bits_have_a_unit():
    found = [bits_in_words(bits).replace("\N{NO-BREAK SPACE}", " ") for bits in (12, 4_300, 8.59e6, 2e9, math.nan)]
    assert found == ["12 bit", "4.3 kbit", "8.59 Mbit", "2 Gbit", "n/a"]


@pytest.mark.skipif(BROWSER is None, reason="needs chromium, chromium-browser or google-chrome on PATH")
def test_the_section_can_be_read_in_a_browser(tmp_path):
    gains = {0: 20.0, 1: 5.6, 2: 2.0, 3: 1.0}
    findings, record = federated(tmp_path, gains, {0: 0.9, 1: 0.85, 2: 0.8, 3: 0.5}, plain=(0,))
    with OpenPage(write_sweep(findings, record, tmp_path), tmp_path) as page:
        assert [line for line in page.value(CONTRAST) if line[2] < 4.5] == []
        page.click('.costs a[href="#setting-3"]')
        page.wait_for("location.hash === '#setting-3'")
        assert "best setting" in page.value("document.querySelector(':target').textContent")
        page.call("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=False)
        assert page.value("document.documentElement.scrollWidth") <= 390
