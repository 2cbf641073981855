"""The page on the defenses: what each did to the update, the bounds beside the attack, and the band of the gains."""

import dataclasses
import json
import re

import pytest

from gradaudit.audit.assessment import Assessment
from gradaudit.audit.controls import ControlScore
from gradaudit.audit.protected import CAPTURED
from gradaudit.client.calibrated_noise import NO_NOISE, NOT_CLIPPED
from gradaudit.client.defense_effect import ALL, BEFORE_UPDATE
from gradaudit.execution import Results, read_folder
from gradaudit.metrics.bounds import from_scratch_psnr, identification_bound
from gradaudit.report import corridor, feasibility, render, write
from gradaudit.report.corridor import Corridor
from gradaudit.report.redaction import redact
from gradaudit.values.protection import CalibratedNoise, DefenseEffect, Protection
from gradaudit.values.scores import Scores
from test_officer_page import words
from test_report_page import RUN, finding, planned

CLIP = DefenseEffect("clip norm=0.5", 1.0, 0.1012, 1.0, 0.8988)
NOISE = DefenseEffect("gaussian-noise std=0.5", 0.2, 5.1, 1.0, 5.02, epsilon=4.377, delta=1e-5, unit="client")
WHOLE = DefenseEffect(ALL, 0.21, 0.51, 1.0, 1.34, epsilon=4.377, delta=1e-5, unit="client")
BOUNDED = Protection(
    (CLIP, NOISE, WHOLE), noise=CalibratedNoise(1.0, 1, "client"), size=192, length=7.88, label_ratios=(0.0748, 0.31)
)


def protected(folder, protection=BOUNDED, case="client0-attack0-batch0", gains=(-3.0,), ranks=(40,), **changes):
    values = {"client": "noise", "client_value": "Client(noise)", "defended": True, "protection": protection}
    return finding(folder, case, gains, ranks, **{**values, **changes})


def section(page, heading):
    """The words of one section."""
    (found,) = re.findall(rf"<section>\s*<h2>{heading}</h2>.*?</section>", page, re.S)
    return words(f"<body>{found}"), found


def test_one_row_for_each_defense_with_the_figures_of_the_finding(tmp_path):
    page = render([protected(tmp_path)], RUN, tmp_path)
    text, _ = section(page, "What the defenses did to the update")
    assert "clip norm=0.5 1.000 0.101 100.0 % 0.899 none leave none known" in text
    assert "gaussian-noise std=0.5 0.200 5.10 100.0 % 5.02 none leave 4.38 (one client, δ = 10⁻⁵)" in text
    assert f"{ALL} 0.210 0.510 100.0 % 1.34 none leave 4.38" in text


def test_several_batches_are_a_range_and_attacks_on_one_batch_count_once(tmp_path):
    other = dataclasses.replace(CLIP, cosine=0.9, norm_kept=None, buffers_touched=2)
    cases = [
        protected(tmp_path, Protection((dataclasses.replace(CLIP, buffers_touched=1),), buffers=3)),
        protected(tmp_path, Protection((other,), buffers=3), "client0-attack0-batch1", repeat=1),
        protected(tmp_path, Protection((other,), buffers=3), "client0-attack1-batch1", repeat=1, attack="other"),
    ]
    text, _ = section(render(cases, planned(3), tmp_path), "What the defenses did to the update")
    assert "0.900 to 1.000 0.101 100.0 % 0.899 1 to 2 of 3" in text


def test_what_is_not_known_is_said(tmp_path):
    early = DefenseEffect("mixup", epsilon=2.0, unit="record", why_not=BEFORE_UPDATE)
    idle = DefenseEffect("clip", 1.0, 1.0, 0.0, 0.0, no_op=True)
    cases = [
        protected(tmp_path, Protection(unknown=CAPTURED), client="u.pt", client_value="u"),
        protected(tmp_path, None, "client1-attack0-batch0", client="old", client_value="o"),
        protected(tmp_path, Protection((early, idle), why_not=NO_NOISE), "client2-attack0-batch0"),
        finding(tmp_path, "client3-attack0-batch0"),
    ]
    page = render(cases, planned(4), tmp_path)
    text, _ = section(page, "What the defenses did to the update")
    assert f"u.pt : {CAPTURED}" in text
    assert "old : What its defenses did to the update is not recorded: an earlier version" in text
    assert f"mixup {BEFORE_UPDATE} Epsilon of this round: 2.00 (one record, δ = 0)." in text
    assert "clip It changed nothing." in text
    assert "no defense" not in text
    text, _ = section(page, "Bounds on any attack")
    assert "u.pt No bound: no defense is declared for the captured update." in text
    assert "old No bound: the defenses of this run are not recorded." in text
    assert f"noise No bound: this defense has no guarantee. {NO_NOISE}" in text
    assert "What the defenses did" not in render([cases[-1]], RUN, tmp_path)


def test_the_bounds_stand_beside_what_was_measured(tmp_path):
    other = protected(
        tmp_path, case="client0-attack1-batch0", gains=(1.0, 2.0), ranks=(9, 1), attack="second", attack_value="S()"
    )
    page = render([protected(tmp_path, gains=(-3.0, -2.0), ranks=(40, 41)), other], planned(2), tmp_path)
    text, _ = section(page, "Bounds on any attack")
    top = 100 * identification_bound(100, 1.0)
    assert f"identification among 100 equally likely images of one label at most {top:.1f} %" in text
    assert "where those of the images differ they identify without the update" in text
    assert "1 of 2 images (50 %) by the best attack, second; more than the bound" in text
    reached = f"{from_scratch_psnr(0.05, 1.0, 7.88, 192):.1f}".replace("-", "−")
    assert f"1 of 20 attempts reaches {reached} dB, less than a guess highest 14.0 dB" in text
    assert "a guess without the update reaches 12.0 dB" in text
    assert "0.0748 to 0.31 standard deviations the labels were granted" in text
    assert "Noise multiplier 1: the standard deviation of the Gaussian noise over the largest norm" in text
    assert "e^" not in text


def test_without_the_labels_the_bound_is_among_images_of_any_label(tmp_path):
    page = render([protected(tmp_path, knowledge=("BATCH_SIZE",))], RUN, tmp_path)
    text, _ = section(page, "Bounds on any attack")
    assert "equally likely images at most" in text
    assert "labels were granted, and" not in text


def test_steps_examples_and_a_declaration_change_the_words(tmp_path):
    noise = CalibratedNoise(2.0, 5, "record")
    known = dataclasses.replace(BOUNDED, noise=noise, effects=(), unknown=CAPTURED, label_ratios=None)
    inferred = {"labels_granted": False, "label_accuracy": 0.5}
    text, _ = section(render([protected(tmp_path, known, **inferred)], RUN, tmp_path), "Bounds on any attack")
    assert "over the largest norm of one clipped example, in each of 5 steps. This is as declared" in text
    assert f"at most {100 * identification_bound(100, 2.0, 5):.1f} %" in text
    assert "label signal-to-noise" not in text
    text, _ = section(render([protected(tmp_path, **inferred)], RUN, tmp_path), "Bounds on any attack")
    assert "at most 50 % of the labels inferred by one attack" in text
    weak = dataclasses.replace(BOUNDED, noise=CalibratedNoise(1e-3, 1, "client"))
    assert "at most 100.0 %: no limit" in render([protected(tmp_path, weak)], RUN, tmp_path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"knowledge": ("BATCH_STATISTICS",)}, "the BatchNorm statistics of the batch reach the adversary"),
        ({"knowledge": ("IMAGE_STATISTICS",)}, "channel means and edges of the images reach the adversary"),
        ({"protection": dataclasses.replace(BOUNDED, buffers=3)}, "the buffers of the model reach the adversary"),
    ],
)
def test_what_reaches_the_adversary_without_noise_leaves_no_bound(tmp_path, changes, reason):
    text, drawn = section(render([protected(tmp_path, **changes)], RUN, tmp_path), "Bounds on any attack")
    assert f"No bound: this defense has no guarantee. {reason[0].upper()}{reason[1:]} without noise." in text
    assert "<svg" not in drawn
    assert "label signal-to-noise" in text


def test_without_a_gallery_or_scores_what_is_left_is_shown(tmp_path):
    page = render([protected(tmp_path, ranks=None)], RUN, tmp_path)
    text, drawn = section(page, "Bounds on any attack")
    assert "identification among" not in text
    assert 'class="bound dashed"' not in drawn
    assert 'class="hatch"' not in drawn
    empty = protected(tmp_path, scores=Scores({}), cannot_judge="The update is zero.")
    text, drawn = section(render([empty], RUN, tmp_path), "Bounds on any attack")
    assert "<svg" not in drawn
    assert "Noise multiplier 1" in text


def drawn(identification=0.4, multiplier=0.01, measured=((15.0, False), (15.1, True), (95.0, True)), guess=12.0):
    return str(corridor.draw(Corridor(identification, multiplier, 1, 7.88, 192, measured, guess)))


def numbers(markup, pattern):
    return [tuple(map(float, found.groups())) for found in re.finditer(pattern, markup)]


def test_the_corridor_draws_both_bounds_and_every_example():
    page = drawn()
    assert page.count('<circle class="dot"') == 1
    assert page.count('<circle class="dot full"') == 2
    lanes = numbers(page, r'cx="([\d.]+)" cy="([\d.]+)"')
    assert abs(lanes[0][0] - lanes[1][0]) < 2
    assert abs(lanes[0][1] - lanes[1][1]) > 4  # moved apart
    (points,) = re.findall(r'<polyline class="bound" points="([^"]+)"', page)
    path = [tuple(map(float, point.split(","))) for point in points.split()]
    assert path == sorted(path)
    assert [y for _, y in path] == sorted(y for _, y in path)  # it falls
    ticks = re.findall(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="middle">(\d+)<', page)
    ticks = {text: float(x) for x, text in ticks}
    scale = (ticks["50"] - ticks["0"]) / 50
    half = (path[0][1] + path[-1][1]) / 2
    middle = next(x for x, y in path if abs(y - half) < 0.1)
    assert (middle - ticks["0"]) / scale == pytest.approx(from_scratch_psnr(0.5, 0.01, 7.88, 192), abs=0.2)
    ((dashed,),) = numbers(page, r'<line class="bound dashed" [^>]*y1="([\d.]+)"')
    assert (path[-1][1] - dashed) / (path[-1][1] - path[0][1]) == pytest.approx(0.4, abs=0.01)
    for guess, first in (
        (12.0, middle),
        (40.0, ticks["0"] + 40 * scale),
    ):  # right of both
        hatched = numbers(drawn(guess=guess), r'class="hatch" x1="([\d.]+)"')
        assert first - 1 < min(hatched)[0] < first + 10


@pytest.mark.parametrize(("multiplier", "ends"), [(10.0, (0, 0)), (1e-7, (1, 1))])
def test_a_bound_outside_the_axis_lies_on_its_edge(multiplier, ends):
    page = drawn(multiplier=multiplier)
    (points,) = re.findall(r'<polyline class="bound" points="([^"]+)"', page)
    heights = [float(point.split(",")[1]) for point in points.split()]
    floor, top = numbers(page, r'<line class="tick" [^>]*y1="([\d.]+)"')[0][0], 24.0
    assert [heights[0], heights[-1]] == pytest.approx([top if end else floor for end in ends], abs=0.1)


def assessed(folder, *, gains, number=0, why_not=""):
    score = ControlScore("inverting-gradients", "psnr", 14.0, 12.0, 0, 2, 1.0, why_not, gains)
    one = feasibility.AssessedClient("/private/u.pt", number, Assessment(None, None, score, f"see {folder}/u.pt"))
    feasibility.write_assessments(folder, [one])


def bands(page):
    first = page[: page.index("<h2>What was not tested</h2>")]
    shades = re.findall(r'<rect class="guesses" x="([\d.]+)%" width="([\d.]+)%"', first)
    (zero,) = set(re.findall(r'<line class="zero" x1="([\d.]+)%" x2="[\d.]+%" y1="0"', first))
    (line,) = set(re.findall(r'<line class="threshold" x1="([\d.]+)%" x2="[\d.]+%" y1="0"', first))
    decibel = (float(line) - float(zero)) / 6
    ends = [((float(x) - float(zero)) / decibel, float(width) / decibel) for x, width in shades]
    return words(first), [(round(low, 1), round(low + width, 1)) for low, width in ends]


def test_the_band_is_that_of_the_prior_only_control_where_there_is_one(tmp_path):
    spread = Scores({"psnr": dataclasses.replace(finding(tmp_path).control.psnr, per_example=(10.0, 14.0))})
    cases = [
        dataclasses.replace(finding(tmp_path, f"client{i}-attack0-batch0", (14.0, 9.0), (1, 5), **more), control=spread)
        for i, more in enumerate(({}, {"client": "noise", "client_value": "N"}))
    ]
    told, found = bands(render(cases, planned(2), tmp_path))
    assert "Grey band: how far guesses without the update differ from one another." in told
    assert found == [(-2.0, 2.0)] * 2
    assessed(tmp_path, gains=(-1.0, 5.0), number=0)
    told, found = bands(render(cases, planned(2), tmp_path))
    prior = "from the control to what the priors of inverting-gradients reach without the update (prior-only control)."
    assert f"Grey band of no defense: {prior}" in told
    assert "Grey band of noise: how far guesses" in told
    assert sorted(found) == [(-2.0, 2.0), (-1.0, 5.0)]
    assessed(tmp_path, gains=(3.0, 4.0), number=0)
    told, found = bands(render(cases[:1], RUN, tmp_path))
    assert f"Grey band: {prior}" in told
    assert found == [(0.0, 4.0)]
    assessed(tmp_path, gains=(), number=0)  # as of earlier versions: the mean alone, 14 - 12 dB
    record = json.loads((tmp_path / feasibility.FILE).read_text())
    del record[0]["assessment"]["prior"]["gains"]
    (tmp_path / feasibility.FILE).write_text(json.dumps(record))
    assert bands(render(cases[:1], RUN, tmp_path))[1] == [(0.0, 2.0)]
    assessed(tmp_path, gains=(), number=0, why_not="It could not run.")
    assert bands(render(cases[:1], RUN, tmp_path))[1] == [(-2.0, 2.0)]


def kept(folder, cases):
    results = Results(folder, planned(len(cases)))
    for one in cases:
        results.append(one)
    results.export()
    return folder


def test_a_redacted_copy_keeps_these_figures_and_loses_paths(tmp_path):
    secret = "/srv/clinic-seven"
    effects = (dataclasses.replace(CLIP, defense=f"mine path={secret}/prior.pt"), NOISE, WHOLE)
    told = dataclasses.replace(BOUNDED, effects=effects, why_not=f"see {secret}", unknown="")
    plain = dataclasses.replace(BOUNDED, effects=(), noise=None, unknown=CAPTURED, why_not=NOT_CLIPPED)
    (tmp_path / "run").mkdir()
    cases = [
        protected(tmp_path / "run", told),
        protected(tmp_path / "run", plain, "client1-attack0-batch0", client="u.pt", client_value="u", trial="t1"),
    ]
    run = kept(tmp_path / "run", cases)
    assessed(run, gains=(-1.0, 5.0))
    before = write(*read_folder(run), run).read_text()
    copy = redact(run).parent
    after = (copy / "report.html").read_text()
    content = b"".join(path.read_bytes() for path in copy.iterdir())
    for word in ("clinic-seven", "prior.pt", "/private", str(tmp_path)):
        assert word.encode() not in content
    assert CAPTURED in after
    assert NOT_CLIPPED in after
    for heading in ("What the defenses did to the update", "Bounds on any attack"):
        ours, theirs = (section(page, heading)[0] for page in (before, after))
        assert ours.replace(f"path={secret}/prior.pt", "redacted") == theirs
    assert bands(before)[1] == bands(after)[1] != []
    assert "Could this attack have worked here?" in before
    assert "Could this attack have worked here?" not in after
    again = write(*read_folder(copy), copy).read_text()
    assert again == after
