"""The verdict's rule, the axes and the way numbers are written."""

import math
from dataclasses import replace

import pytest

from gradaudit.metrics import METRICS, Interval
from gradaudit.report import formatting, svg
from gradaudit.report.cases import Leak, worst_per_picture
from gradaudit.report.line_chart import ChartLine, line_chart
from gradaudit.report.strip_plot import axis_for, strip
from gradaudit.report.verdict import Severity, above_chance, judge
from gradaudit.values.finding import Finding, Score, Scores
from gradaudit.values.measures import MEASURES
from gradaudit.values.types import Modality

NOUN = MEASURES[Modality.PICTURES].noun


def leak(gain, rank=1.0, key=0, attack="a", gallery=100):
    scores = Scores({"psnr": Score.of((10.0 + gain,)), **({"rank": Score.of((rank,))} if rank else {})})
    finding = Finding(
        attack=attack, case=f"{attack}{key}", client="c", seed=0, repeat=key, scores=scores,
        control=Scores({"psnr": Score.of((10.0,))}), objective=0.0, seconds=1.0, verified=False, needs=(), knowledge=(),
        attack_value=attack, client_value="c", gallery=gallery,
    )  # fmt: skip
    return Leak(finding, 0, key)


def judged(*found, others=()):
    """The verdict on the findings of some leaks, and on `others` without any."""
    findings = list({one.finding.case: one.finding for one in found}.values())
    return judge("c", [*findings, *others], found)


def unable(reason, attack="b"):
    """A case whose attack could not run."""
    return replace(leak(0, attack=attack).finding, scores=Scores({}), control=Scores({}), cannot_judge=reason)


@pytest.mark.parametrize(
    ("gain", "rank", "recovered"), [(6.0, 1.0, True), (5.9, 1.0, False), (20.0, 2.0, False), (6.0, None, True)]
)
def test_recovered_needs_gain_and_identification(gain, rank, recovered):
    assert leak(gain, rank).recovered is recovered


@pytest.mark.parametrize(
    ("gain", "rank", "gallery", "level"),
    [
        (8.0, 1.0, 100, Severity.RECOGNISABLE),
        (3.0, 5.0, 100, Severity.TRACES),
        (20.0, 2.0, 100, Severity.TRACES),
        (-2.0, 1.0, 100, Severity.TRACES),  # identified, and chance hits one time in a hundred
        (-2.0, 1.0, 20, Severity.NOTHING),  # chance hits one time in twenty
        (2.9, 5.0, 100, Severity.NOTHING),
        (-5.0, None, 0, Severity.NOTHING),
    ],
)
def test_the_levels_of_the_verdict(gain, rank, gallery, level):
    verdict = judged(leak(gain, rank, gallery=gallery))
    assert verdict.level is level
    assert verdict.sentence.endswith(".")


def test_the_worst_attack_counts_for_each_picture():
    found = [leak(10, key=0), leak(-4, 50, key=0, attack="b"), leak(-9, 60, key=1), leak(8, key=1, attack="b")]
    verdict = judged(*found)
    assert verdict.sentence == f"2 of 2 {NOUN}s were recovered (mean 19.0 dB, 9.0 dB above the control)."
    assert verdict.details[0].endswith("rank 1 of 100. Identified: 2 of 2.")


def test_an_attack_that_could_not_run_is_no_all_clear():
    alone = judge("c", [unable("the update is zero.")], [])
    assert (alone.level, alone.headline, alone.sentence) == (
        Severity.UNKNOWN,
        "Cannot be judged:",
        "the update is zero.",
    )
    beside = judged(leak(-5, 9.0), others=[unable("no gradient.")])
    assert beside.level is Severity.UNKNOWN
    assert beside.sentence == "b: no gradient. The cases that could be judged recovered nothing recognisable."
    assert beside.warnings == ("1 of 2 cases cannot be judged.",)
    assert judged(leak(-5, 9.0)).level is Severity.NOTHING


def test_what_leaked_is_said_whatever_else_could_not_run():
    verdict = judged(leak(8), others=[unable("no gradient.")])
    assert verdict.level is Severity.RECOGNISABLE
    assert "1 of 2 cases cannot be judged." in verdict.warnings
    assert verdict.severity > judge("c", [unable("no gradient.")], []).severity > judged(leak(-5, 9.0)).severity


def close_control(gain, control, key=0):
    """A leak whose control already lies at `control` dB."""
    scores, bare = Scores({"psnr": Score.of((control + gain,))}), Scores({"psnr": Score.of((control,))})
    finding = replace(leak(gain).finding, scores=scores, control=bare, case=f"a{key}", repeat=key)
    reason = "" if finding.judgeable[0] else "the control is close."
    return Leak(replace(finding, cannot_judge=reason), 0, key)


@pytest.mark.parametrize(
    ("gain", "control", "level"),
    [
        (-9.0, 29.9, Severity.NOTHING),
        (-9.0, 30.0, Severity.UNKNOWN),  # a guess is as good as an attack could be
        (5.9, 35.0, Severity.UNKNOWN),
        (20.0, 35.0, Severity.RECOGNISABLE),  # recovered all the same
    ],
)
def test_a_control_that_leaves_no_room_is_no_all_clear(gain, control, level):
    assert judged(close_control(gain, control)).level is level


def test_examples_without_room_do_not_count_and_are_owned_up_to():
    scores, control = Scores({"psnr": Score.of((5.0, 33.0))}), Scores({"psnr": Score.of((10.0, 40.0))})
    finding = replace(leak(0).finding, scores=scores, control=control)
    verdict = judge("c", [finding], [Leak(finding, i, i) for i in range(2)])
    assert verdict.level is Severity.NOTHING
    assert verdict.warnings == (f"1 {NOUN} cannot be judged: the control is already as close as an attack could be.",)


def test_alarms_come_from_findings_and_from_oracles():
    finding = replace(leak(-5, 9.0).finding, warnings=("Two are public.",), knowledge=("IMAGE_STATISTICS",))
    verdict = judge("c", [finding], [Leak(finding, 0, 0)])
    assert len(verdict.alarms) == 2
    assert verdict.alarms[0].startswith("Oracle: this adversary knows the true channel means")
    assert verdict.alarms[1] == "Two are public."


def test_chance_is_a_binomial_tail():
    hits = [leak(-5, 1.0 if key < 2 else 9.0, key=key, gallery=10) for key in range(4)]
    assert not above_chance(2, hits)  # P(at least 2 of 4 at 0.1) = 0.0523
    assert above_chance(3, hits)  # P(at least 3 of 4 at 0.1) = 0.0037
    assert not above_chance(4, [leak(0, 1.0, key=key, gallery=1) for key in range(4)])


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (formatting.decibels(26.06), "26.1 dB"),
        (formatting.decibels(-0.04, signed=True), "+0.0 dB"),
        (formatting.decibels(-3.25, signed=True), "−3.2 dB"),
        (formatting.decibels(math.nan), "n/a"),
        (formatting.above_control(-2.5), "2.5 dB below the control"),
        (formatting.bounds(Interval(1.0, math.nan, math.nan, 1)), ""),
        (formatting.bounds(Interval(1.0, -0.5, 2.5, 3)), "[−0.5, +2.5]"),
        (formatting.rank(3.0, 100), "rank 3 of 100"),
        (formatting.percent(0.25), "25 %"),
        (formatting.scientific(4.13e-7), "4.13 × 10⁻⁷"),
        (formatting.scientific(0.02), "0.02"),
        (formatting.seconds(0.419), "0.42 s"),
        (formatting.seconds(200.0), "3 min 20 s"),
        (formatting.seconds(7500.0), "2 h 05 min"),
        (formatting.share(1, 1, "picture"), "1 of 1 picture"),
        (formatting.listed(["a", "b", "c"]), "a, b and c"),
        (formatting.listed([]), ""),
    ],
)
def test_numbers_are_written_in_one_way(written, text):
    assert written == text


def test_ticks_are_round():
    assert svg.nice_ticks(-4.0, 21.0, 7) == (0.0, 5.0, 10.0, 15.0, 20.0)
    assert svg.decades(1e-6, 1.0)[:2] == pytest.approx((1e-6, 1e-4))
    assert svg.decades(0.02, 0.9) == pytest.approx((0.02, 0.05, 0.1, 0.2, 0.5))


@pytest.mark.parametrize(
    ("values", "logarithmic"), [((1e-6, 1.0), True), ((0.5, 1.0), False), ((0.0, 1e3), False), ((math.nan,), False)]
)
def test_the_axis_is_logarithmic_where_the_range_asks_for_it(values, logarithmic):
    axis = svg.Axis.around(values)
    assert axis.logarithmic is logarithmic
    assert all(0 <= axis.share(value) <= 1 for value in values if math.isfinite(value))


def test_one_value_has_an_axis_too():
    assert svg.Axis.around([3.0]).share(3.0) == pytest.approx(0.5)
    assert svg.Axis.around([0.0]).ticks(5)


def test_a_small_value_on_a_logarithmic_axis_is_not_called_zero():
    assert svg.tick_text(1e-13, svg.Axis(1e-14, 0.1, logarithmic=True)) == "10⁻¹³"
    assert svg.tick_text(1e-17, svg.Axis(-1.0, 1.0)) == "0"


def test_decibels_stay_on_a_linear_axis():
    assert svg.Axis.around([0.01, 9.0]).logarithmic
    assert not svg.Axis.around([0.01, 9.0], linear=True).logarithmic


def test_long_curves_are_thinned_but_keep_their_end():
    points = tuple((step, 1.0 + step) for step in range(5001))
    drawn = str(line_chart([ChartLine("run", "", 0, points)], svg.Axis.around([1.0, 5001.0]), "objective"))
    path = drawn.partition('points="')[2].partition('"')[0].split()
    assert len(path) <= 242
    assert path[-1].startswith("328.0,")


def test_intervals_stand_upright_and_end_with_the_axis():
    line = ChartLine("run", "", 1, ((0, 2.0), (4, 3.0)), spans=((0, 1.0, 3.0), (4, -50.0, 60.0)))
    drawn = str(line_chart([line], svg.Axis(0.0, 4.0), "objective"))
    assert 'x1="56.0" x2="56.0" y1="136.5" y2="61.5"' in drawn  # a quarter and three quarters of 24..174
    assert 'x1="328.0" x2="328.0" y1="174.0" y2="24.0"' in drawn


def test_a_strip_has_one_dot_per_value_and_its_interval():
    axis = axis_for([-2.0, 9.0], 6.0)
    drawn = str(strip([-2.0, 9.0], [False, True], Interval(3.5, -66.4, 73.4, 2), axis, 6.0))
    assert drawn.count("<circle") == 2
    assert drawn.count("dot full") == 1
    assert 'class="interval" x1="0.00%" x2="100.00%"' in drawn
    alone = str(strip([9.0], [True], Interval(9.0, math.nan, math.nan, 1), axis, 6.0))
    assert "interval" not in alone


def scored(scores, control):
    """A leak with scores of its own."""
    finding = leak(0).finding
    of = (Scores({name: Score.of((value,)) for name, value in side.items()}) for side in (scores, control))
    return Leak(replace(finding, scores=next(of), control=next(of)), 0, 0)


def test_a_gain_needs_both_sides():
    assert scored({"psnr": 12.0}, {"psnr": 10.0}).gain == 2
    for one in (
        scored({"psnr": 12.0}, {"psnr": 10.0, "ssim": 0.5}),
        scored({"psnr": 12.0, "ssim": 0.5}, {"psnr": 10.0}),
    ):
        assert one.gain_of("ssim") is None
    assert scored({"ssim": 0.5}, {"ssim": 0.1}).gain == 0  # the measure was not taken


def test_the_worst_leak_comes_first():
    """A recovered example before one of a larger gain that is not, and each by the attack that got closest."""
    told_apart = leak(7, 1.0, key=0), leak(3, 1.0, key=0, attack="b")
    closer = leak(20, 2.0, key=1), leak(30, 2.0, key=1, attack="b")
    worst = worst_per_picture([*closer, *told_apart])
    assert [(one.key, one.gain) for one in worst] == [(0, 7), (1, 30)]
    assert worst == worst_per_picture([*reversed(told_apart), *reversed(closer)])
    verdict = judged(*closer, *told_apart)
    assert verdict.severity == (Severity.RECOGNISABLE, 0.5, 37 / 2)
    assert verdict.details[0].startswith("Closest image: 17.0 dB, 7.0 dB above the control, rank 1 of 100.")


def test_chance_is_that_of_the_smallest_gallery():
    """One hit of one picture is 1 in 100 by itself, and 1 in 10 by the attack that had ten pictures to choose from."""
    hits = [leak(-5, 1.0, attack="a", gallery=100), leak(-5, 9.0, attack="b", gallery=10)]
    assert not above_chance(1, hits)
    assert above_chance(1, hits[:1])
    verdict = judged(leak(-5, 1.0, key=0), leak(-5, 1.0, key=1, gallery=200))
    assert f"2 of 2 were identified among 100 {NOUN}s" in verdict.sentence


def test_the_order_of_levels():
    """They stand in findings and sort verdicts: unknown is worse than nothing, a trace worse than both."""
    assert [(level.name, int(level)) for level in Severity] == [
        ("NOTHING", 0), ("UNKNOWN", 1), ("TRACES", 2), ("RECOGNISABLE", 3),
    ]  # fmt: skip
    assert judge("c", [unable("why.")], []).severity == (Severity.UNKNOWN, 0, 0)


def test_chance_needs_a_gallery_of_two():
    assert not above_chance(1, [leak(0, 1.0, gallery=1)])
    many = [leak(0, 1.0, key=key, gallery=2) for key in range(7)]
    assert above_chance(7, many)  # 2 ** -7 = 0.8 %
    assert not above_chance(6, many)


def of_text(**gains):
    """A leak of a text whose scores lie so far above the control's."""
    control = dict.fromkeys(("token_accuracy", "rouge1", "bag_of_tokens"), 0.1)
    one = scored({name: 0.1 + gains.get(name, 0.0) for name in control}, control)
    return Leak(replace(one.finding, modality=Modality.TEXT), 0, 0)


@pytest.mark.parametrize("metric", MEASURES[Modality.TEXT].also)
def test_a_trace_by_another_metric_is_named(metric):
    least = MEASURES[Modality.TEXT].trace_gain
    verdict = judged(of_text(**{metric: least + 0.01}))
    assert verdict.level is Severity.TRACES
    assert METRICS[metric].name in verdict.sentence
    assert judged(of_text(**{metric: least - 0.01})).level is Severity.NOTHING


def test_details_say_what_the_labels_were_worth():
    one = leak(8)
    inferred = Leak(replace(one.finding, label_accuracy=0.5, labels_granted=False), 0, 0)
    granted = Leak(replace(one.finding, label_accuracy=1.0, labels_granted=True), 0, 0)
    assert judged(inferred).details[-1] == "Labels inferred correctly: 50 %."
    assert len(judged(granted).details) == 1
    assert "Identified" not in judged(one).details[0]  # of one picture the rank says it
    assert "Identified: 1 of 2" in judged(leak(8), leak(8, 3.0, key=1)).details[0]


@pytest.mark.parametrize(
    ("words", "level"), [(0.5, Severity.TRACES), (0.2, Severity.NOTHING), (None, Severity.NOTHING)]
)
def test_words_out_of_place_are_a_trace_of_their_own(words, level):
    """ROUGE-1 of one text alone makes a trace, and the sentence names it; where it was not taken it makes none."""

    def text(key, **taken):
        one = scored({"token_accuracy": 0.1, **taken}, {"token_accuracy": 0.1, **dict.fromkeys(taken, 0.0)})
        return Leak(replace(one.finding, modality=Modality.TEXT, case=f"a{key}"), 0, key)

    found = [text(0), text(1)] if words is None else [text(0, rouge1=words), text(1, rouge1=0.0)]
    verdict = judged(*found)
    assert verdict.level is level
    if level is Severity.TRACES:
        assert "but the ROUGE-1 of one text is 50 points above the control" in verdict.sentence


def test_one_example_alone_is_a_trace():
    verdict = judged(leak(3.5, 5.0), leak(-4, 50.0, key=1), leak(0, 50.0, key=2))
    assert verdict.level is Severity.TRACES
    assert "the closest is 3.5 dB above the control" in verdict.sentence


def test_where_less_could_be_judged_is_not_the_worse_case():
    """A setting in which an attack ran and gained something sorts above one in which none could run at all."""
    ran, none = judged(leak(0.5, 9.0), others=[unable("no gradient.")]), judge("d", [unable("no gradient.")], [])
    assert ran.level is none.level is Severity.UNKNOWN
    assert none.severity < ran.severity


@pytest.mark.parametrize(
    ("galleries", "keys", "above"),
    [
        ((1000, 20), (0, 0), False),  # the smaller gallery decides: two guesses in 20 hit one time in ten
        ((1000, 1000), (0, 0), True),
        ((12, 12), (0, 1), True),
        ((12, 12, 12), (0, 0, 1), False),  # the picture that was tried most often decides for all
        ((2,) * 7, range(7), True),  # seven coins in a row
        ((2,) * 6, range(6), False),
        ((1,) * 7, range(7), False),  # nothing to be told from
        ((400,) * 1200, range(1200), True),  # more images than a float has binomial coefficients for
    ],
)
def test_chance_hits_oftener_in_small_galleries(galleries, keys, above):
    found = [leak(0, key=key, gallery=gallery) for key, gallery in zip(keys, galleries, strict=True)]
    assert above_chance(len(set(keys)), found) is above


def test_the_smallest_gallery_is_the_one_that_is_named():
    verdict = judged(leak(0, gallery=400), leak(0, key=1, gallery=300))
    assert f"2 of 2 were identified among 300 {NOUN}s" in verdict.sentence


def test_details_of_a_single_picture_and_its_inferred_label():
    one, other = leak(8), leak(8, key=1)
    assert judged(one).details == (f"Closest {NOUN}: 18.0 dB, 8.0 dB above the control, rank 1 of 100.",)
    for granted, said in ((False, ("Labels inferred correctly: 75 %.",)), (True, ())):
        some = [
            replace(leak_, finding=replace(leak_.finding, label_accuracy=share, labels_granted=granted))
            for leak_, share in ((one, 0.5), (other, 1.0))
        ]
        assert judged(*some).details[1:] == said
