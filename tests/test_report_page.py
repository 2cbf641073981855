"""The page: what it says, what it embeds, and what it must never contain."""

import base64
import dataclasses
import math
import re

import numpy as np
import pytest
from PIL import Image

from gradaudit.report import render, write
from gradaudit.values.errors import AuditError
from gradaudit.values.finding import Finding, ImageFiles, RunRecord, Score, Scores

RUN = RunRecord(title="An audit", configuration="seed: 0\n", source="test pictures", planned=1, version="0.1.0")


def put(folder, name, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    path = folder / "pictures" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)
    return f"pictures/{name}.png"


def finding(folder, case="a", gains=(14.0,), ranks=(1,), **changes):
    size = len(gains)
    kinds = ("truth", "reconstruction", "control")
    rows = [tuple(put(folder, f"{case}-{kind}-{i}", 3 * i + k) for i in range(size)) for k, kind in enumerate(kinds)]
    control = Scores({"psnr": Score.of((12.0,) * size)})
    named = {"psnr": Score.of(tuple(12.0 + gain for gain in gains)), "ssim": Score.of((0.5,) * size)}
    if ranks:
        named["rank"] = Score.of(tuple(float(rank) for rank in ranks), higher_is_better=False)
    scores = Scores(named, {"lpips": "weights missing"})
    values = {
        "attack": "dlg", "case": case, "client": "no defense", "seed": 0, "repeat": 0, "scores": scores,
        "control": control, "objective": 1e-7, "seconds": 1.5, "verified": True, "needs": ("BATCH_SIZE",),
        "knowledge": ("BATCH_SIZE", "LABELS"), "attack_value": "DLG()", "client_value": "Client()",
        "labels_granted": True, "labels": tuple(range(size)), "guessed_labels": tuple(range(size)), "gallery": 100,
        "pictures": ImageFiles(*rows), "curves": (((0, 1.0), (10, 0.1), (20, 1e-4)),), "versions": {"torch": "2.15.0"},
    }  # fmt: skip
    return Finding(**values | changes)


def planned(number):
    return dataclasses.replace(RUN, planned=number)


@pytest.mark.parametrize("size", [1, 3, 40])
def test_the_worst_examples_are_shown_and_the_rest_is_owned_up_to(tmp_path, size):
    gains = tuple(7.0 + i for i in range(size))
    page = render([finding(tmp_path, gains=gains, ranks=(1,) * size)], RUN, tmp_path)
    assert f"{size} of {size} {finding(tmp_path).measure.noun}" in page
    assert page.count('<figure class="truth">') == min(size, 24)
    shown_of_all = f"The 24 of 40 private {finding(tmp_path).measure.nouns} with the largest leak"
    assert (shown_of_all in page) == (size == 40)
    shown = [float(gain) for gain in re.findall(r"<span>\+([\d.]+) dB over control", page)]
    assert shown == sorted(gains, reverse=True)[:24]


def test_clients_stand_side_by_side_worst_first(tmp_path):
    defended = finding(tmp_path, "b", (-3.0,), (40,), client="noise", client_value="Client(noise)")
    page = render([defended, finding(tmp_path, "a")], planned(2), tmp_path)
    assert page.count('<figure class="truth">') == 1  # one private picture, attacked under both
    assert page.index("<h2>no defense</h2>") < page.index("<h2>noise</h2>")
    noun = defended.measure.noun
    assert f"1 of 1 {noun} was recovered (26.0 dB, 14.0 dB above the control)" in page
    assert "was recovered by this attack; that is not a proof of privacy" in page
    assert page.count("This result holds for an honest-but-curious server that sees the model and the update") == 1
    assert "and knows the batch size and the labels" in page


def test_attacks_on_one_client_stand_side_by_side(tmp_path):
    other = finding(tmp_path, "b", (-3.0,), (40,), attack="other", attack_value="Other()")
    page = render([finding(tmp_path), other], planned(2), tmp_path)
    assert '<p class="heading">dlg</p>' in page
    assert '<p class="heading">other</p>' in page
    assert "Worst case over 2 attacks; the closest reconstruction is by dlg." in page


def test_knowledge_that_differs_is_judged_apart(tmp_path):
    page = render([finding(tmp_path), finding(tmp_path, "b", knowledge=("BATCH_SIZE",))], planned(2), tmp_path)
    assert "<h2>no defense, the batch size known</h2>" in page
    assert "no defense, the batch size and the labels known: holds for an honest-but-curious server" in page


def test_values_that_share_a_name_are_numbered(tmp_path):
    page = render([finding(tmp_path), finding(tmp_path, "b", client_value="Client(2)")], planned(2), tmp_path)
    assert "no defense #1" in page
    assert "client: no defense #2" in page


def test_missing_metrics_are_named_with_their_reason(tmp_path):
    case = finding(tmp_path, ranks=None)
    bare = Scores({"psnr": case.scores.psnr}, {"lpips": "weights missing", "ssim": "below 11 pixels"})
    page = render([dataclasses.replace(case, scores=bare)], RUN, tmp_path)
    assert "LPIPS: weights missing" in page
    assert "SSIM: below 11 pixels" in page
    assert "n/a ¹" in page
    assert "Identification was not measured in every case" in page


def test_labels_are_granted_inferred_or_not_stated(tmp_path):
    silent = finding(tmp_path, labels_granted=False, guessed_labels=None, labels=())
    assert "not inferred" in render([silent], RUN, tmp_path)
    inferred = finding(tmp_path, labels_granted=False, label_accuracy=0.0, guessed_labels=(7,))
    page = render([inferred], RUN, tmp_path)
    assert "label 7, wrong" in page
    assert "inferred, 0 % correct" in page
    assert "label 0, granted" in render([finding(tmp_path)], RUN, tmp_path)


def test_pictures_are_embedded_byte_for_byte(tmp_path):
    case = finding(tmp_path, gains=(8.0, 9.0), ranks=(1, 1))
    page = render([case], RUN, tmp_path)
    embedded = {base64.b64decode(data) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', page)}
    paths = (*case.pictures.truth, *case.pictures.reconstruction, *case.pictures.control)
    assert embedded == {(tmp_path / path).read_bytes() for path in paths}
    assert page.count('width="128" height="128"') == 6


def test_a_run_without_pictures_still_has_a_page(tmp_path):
    page = render([finding(tmp_path, pictures=ImageFiles())], RUN, tmp_path)
    assert page.count("image not kept") == 3


@pytest.mark.parametrize(
    ("path", "complaint"),
    [("gone.png", "no such image"), ("../outside.png", "outside the run's folder"), ("text.png", "not a PNG")],
)
def test_unusable_pictures_are_refused_by_name(tmp_path, path, complaint):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(AuditError, match=f"{re.escape(path)}: .*{complaint}") as caught:
        render([finding(tmp_path, pictures=ImageFiles(truth=(path,)))], RUN, tmp_path)
    assert "\n" not in str(caught.value)


def test_hostile_strings_stay_text(tmp_path):
    evil = '<script>alert("x")</script>'
    case = finding(
        tmp_path, attack=evil, client=evil, attack_value=evil, client_value=evil, paper=evil, picture_names=(evil,),
        deviations=(evil,), notes=(evil,), no_op_defenses=(evil,), versions={evil: evil}, knowledge=(evil,),
        needs=(evil,),
    )  # fmt: skip
    case = dataclasses.replace(case, scores=dataclasses.replace(case.scores, why_not={"lpips": evil}))
    run = dataclasses.replace(RUN, title=evil, configuration=evil, source=evil, attribution=evil, version=evil)
    page = render([case], run, tmp_path)
    assert "<script" not in page.lower()
    assert "&lt;script&gt;" in page


def test_the_page_refers_to_nothing_outside(tmp_path):
    page = render([finding(tmp_path)], RUN, tmp_path)
    addresses = re.findall(r'(?:src|href|action|srcset)="([^"]*)"', page)
    assert addresses
    assert all(address.startswith("data:") for address in addresses)
    for forbidden in ("<script", "@import", "url(", "http://", "https://", " onload=", "<iframe"):
        assert forbidden not in page
    assert '<html lang="en">' in page
    assert "<title>An audit</title>" in page
    assert len(re.findall(r"<img ", page)) == len(re.findall(r'<img [^>]*alt="[^"]+"', page))
    assert len(re.findall(r"<svg ", page)) == len(re.findall(r"<svg [^>]*><title>[^<]+</title>", page))


def test_an_unfinished_run_says_so(tmp_path):
    assert "Unfinished run: 1 of 3 cases." in render([finding(tmp_path)], planned(3), tmp_path)
    assert "Unfinished run" not in render([finding(tmp_path)], RUN, tmp_path)


def test_no_findings_make_a_sensible_page(tmp_path):
    page = render([], planned(2), tmp_path)
    assert "No case has finished yet" in page
    assert "Unfinished run: 0 of 2 cases." in page
    assert "What was not tested" in page
    assert "contains private" not in page


def test_no_op_defenses_are_reported_as_such(tmp_path):
    page = render([finding(tmp_path, no_op_defenses=("top-k share=1.0",))], RUN, tmp_path)
    assert "top-k share=1.0 did not change the update, so this is the result of a client without it." in page


def test_curves_survive_gaps(tmp_path):
    gaps = (((0, math.nan), (5, None), (10, 0.5)), ((0, math.inf),), ())
    page = render([finding(tmp_path, curves=gaps, objective=math.nan)], RUN, tmp_path)
    assert "Objective of the attack" in page
    assert "nan" not in re.sub(r"base64,[^\"]+", "", page)


def test_findings_that_came_from_json_give_the_same_page(tmp_path):
    case = finding(tmp_path)
    assert render([Finding.from_json(case.to_json())], RUN, tmp_path) == render([case], RUN, tmp_path)


def test_what_was_granted_is_not_called_untested(tmp_path):
    active = finding(tmp_path, knowledge=("BATCH_SIZE", "MODEL_CONTROL"))
    page = render([active], RUN, tmp_path)
    assert "An active server" not in page
    assert "a malicious server that modifies the model" in page
    assert "they were granted" not in page
    assert "An active server" in render([finding(tmp_path)], RUN, tmp_path)


def test_write_replaces_the_page_whole(tmp_path):
    (tmp_path / "report.html").write_text("old")
    path = write([finding(tmp_path)], RUN, tmp_path)
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == render([finding(tmp_path)], RUN, tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["pictures", "report.html"]


def test_write_leaves_the_old_page_where_the_new_one_fails(tmp_path):
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(AuditError):
        write([finding(tmp_path, pictures=ImageFiles(truth=("gone.png",)))], RUN, tmp_path)
    assert (tmp_path / "report.html").read_text() == "old"
    with pytest.raises(AuditError, match="no folder at"):
        write([], RUN, tmp_path / "nowhere")
