"""The parts of the page for a reader who decides: levels, worst example, effects of defenses, evidence, hashes."""

import dataclasses
import hashlib
import re

import pytest
import torch

from conftest import linear_net, make_batch
from gradaudit import Client, Knowledge, Level, audit
from gradaudit.attacks import ATTACKS
from gradaudit.audit.digests import digest_of
from gradaudit.audit.judge import Case
from gradaudit.report import render
from gradaudit.report.levels import numbers_of
from gradaudit.report.provenance import MOST_UPDATES, provenance
from gradaudit.values.scores import Scores
from gradaudit.values.types import LEVELS
from test_report_page import RUN, finding, planned

CLAIMS = r"\b(compliant|compliance|safe|safely|safety|anonymous|anonymi[sz]ed|guarantees?|certif\w+|GDPR)\b"


def words(page):
    """The text of a page, without style sheet, images and markup."""
    body = page[page.index("<body>") :]
    return " ".join(re.sub(r"<[^>]+>", " ", re.sub(r'"data:[^"]*"', "", body)).replace("&nbsp;", " ").split())


def defended(folder, case="b", gains=(-3.0,), ranks=(40,), **changes):
    return finding(
        folder, case, gains, ranks, **{"client": "noise", "client_value": "Client(noise)", "defended": True, **changes}
    )


@pytest.mark.parametrize(
    ("facts", "numbers"),
    [
        (("BATCH_SIZE",), (0, 1)),
        (("BATCH_SIZE", "LABELS", "LOCAL_TRAINING"), (0, 1)),
        (Level.DATA_DISTRIBUTION.names, (2,)),
        (Level.MALICIOUS_SERVER.names, (5,)),
        ((), ()),
    ],
)
def test_facts_belong_to_the_highest_level_whose_facts_they_contain(facts, numbers):
    assert numbers_of(facts) == numbers


def test_one_sentence_for_each_level_and_the_others_are_not_audited(tmp_path):
    stronger = finding(tmp_path, "c", (-3.0,), (40,), knowledge=Level.TRAINING_DETAILS.names)
    page = words(render([finding(tmp_path), stronger], planned(2), tmp_path))
    weaker = "the model and the update, general knowledge about such data; in addition the labels"
    assert f"Levels 0 and 1 of 5 ({weaker}): recognisable ." in page
    page = page.replace("&#39;", "'")
    about = "the client's training settings, and what the levels below know"
    assert f"Level 3 of 5 ({about}): nothing recognisable ." in page
    rest = "level 2 (data of the same kind), level 4 (BatchNorm statistics of the batch) and level 5"
    assert f"Not audited : {rest} (a server that modifies the model)." in page
    assert len(LEVELS) == 6


def test_clients_of_one_level_stand_in_its_sentence(tmp_path):
    page = words(render([finding(tmp_path), defended(tmp_path)], planned(2), tmp_path))
    assert "in addition the labels): recognisable (no defense); nothing recognisable (noise)." in page


def test_below_level_0_is_named(tmp_path):
    page = words(render([finding(tmp_path, knowledge=())], RUN, tmp_path))
    assert "Below level 0 (the adversary knows nothing): recognisable ." in page


def test_the_worst_example_is_first_and_large(tmp_path):
    page = render([defended(tmp_path), finding(tmp_path, gains=(8.0, 20.0), ranks=(1, 1))], planned(2), tmp_path)
    (worst,) = re.findall(r'<figure class="worst">.*?</figure>', page, re.S)
    assert worst.count("<img") == 3
    assert "<strong>32.0 dB</strong> recovered<br>+20.0 dB over control" in worst
    assert "no defense, dlg" in worst
    assert (
        page.index('<figure class="worst">')
        < page.index("<h2>What was not tested</h2>")
        < page.index("<h2>Reconstructions</h2>")
    )


def test_the_gains_have_the_band_of_the_control_and_the_identification(tmp_path):
    case = finding(tmp_path, gains=(14.0, 9.0), ranks=(1, 5))
    control = dataclasses.replace(
        case.control, named={"psnr": dataclasses.replace(case.control.psnr, per_example=(10.0, 14.0))}
    )
    page = render([dataclasses.replace(case, control=control)], RUN, tmp_path)
    first = page[: page.index("<h2>What was not tested</h2>")]
    assert "1 of 2 identified among 100 images" in first
    (shade,) = re.findall(r'<rect class="guesses" x="([\d.]+)%" width="([\d.]+)%"', first)
    zero = float(re.findall(r'<line class="zero" x1="([\d.]+)%"', first)[0])
    assert float(shade[0]) + float(shade[1]) / 2 == pytest.approx(zero, abs=0.1)  # 2 dB to either side of the control
    assert "guesses" not in re.sub(r"<style>.*?</style>", "", render([case], RUN, tmp_path), flags=re.S).replace(
        "guesses without", ""
    )


def test_one_attack_is_drawn_once_and_several_also_apart(tmp_path):
    one, other = finding(tmp_path), finding(tmp_path, "b", (3.0,), (4,), attack="other", attack_value="Other()")
    assert "<h2>Gain over the control</h2>" not in render([one], RUN, tmp_path)
    page = render([one, other], planned(2), tmp_path)
    assert "<h2>Gain over the control</h2>" in page
    first = words(page[: page.index("<h2>What was not tested</h2>")])
    assert first.count("mean gain +14.0 dB") == 2  # the closest over both attacks counts: its value and its title
    assert "mean gain +3.0 dB" not in first


def test_the_effect_of_a_defense_is_measured_on_the_same_examples(tmp_path):
    page = words(render([finding(tmp_path), defended(tmp_path)], planned(2), tmp_path))
    effect = "Without a defense: 1 of 1 image recovered, mean gain +14.0 dB. "
    effect += "With this one: 0 of 1 image recovered, mean gain −3.0 dB."
    assert page.count(effect) == 2  # in its section and as evidence
    assert "No attack was adapted to the defense, so this does not say that it protects" in page
    apart = words(render([finding(tmp_path), defended(tmp_path, batch="other")], planned(2), tmp_path))
    assert "There is no result without a defense on the same examples, so its effect is not measured." in apart
    knowing = defended(tmp_path, knowledge=("BATCH_SIZE", "LABELS", "DEFENSE"), no_op_defenses=("noise",))
    page = words(render([finding(tmp_path), knowing], planned(2), tmp_path))
    assert effect in page
    assert "A defense did not change the update." in page
    assert "No attack was adapted to the defense" in page  # granted, but no attack used it
    adapted = defended(tmp_path, "c", (9.0,), attack="dlg (adaptive)", attack_value="Adaptive()", adaptive=True)
    page = words(render([finding(tmp_path), defended(tmp_path), adapted], planned(3), tmp_path))
    assert "With this one: 0 of 1 image recovered, mean gain −3.0 dB, by attacks that do not know it;" in page
    assert "mean gain +9.0 dB, by the same attacks adapted to it." in page
    assert "No attack was adapted to the defense" not in page
    unjudged = dataclasses.replace(
        adapted, scores=Scores({}), control=Scores({}), cannot_judge="The objective is flat."
    )
    page = words(render([finding(tmp_path), defended(tmp_path), unjudged], planned(3), tmp_path))
    assert "No attack that was adapted to the defense can be judged" in page
    assert "Add DEFENSE to knowledge" not in page


def test_without_a_defense_the_page_says_that_none_was_tested(tmp_path):
    page = words(render([finding(tmp_path)], RUN, tmp_path))
    assert "No defense was tested in this audit, so it does not say what would stop the leak." in page
    assert "Effectiveness of the technical measure No measure was tested." in page


def test_the_evidence_uses_the_words_of_an_assessment(tmp_path):
    page = words(render([finding(tmp_path), defended(tmp_path)], planned(2), tmp_path))
    assert "Likelihood of re-identification no defense: 1 of 1 identified among 100 images." in page
    closest = "the closest has 26.0 dB, 14.0 dB above the control."
    assert f"Severity of re-identification no defense: 1 of 1 image recovered; {closest}" in page
    assert "Residual risk With noise: Nothing recognisable was recovered by this attack" in page


@pytest.mark.parametrize("kind", ["leak", "nothing", "traces", "unjudged", "none"])
def test_the_page_never_claims_what_an_audit_cannot_show(tmp_path, kind):
    cases = {
        "leak": [finding(tmp_path), defended(tmp_path)], "nothing": [defended(tmp_path)],
        "traces": [finding(tmp_path, gains=(4.0,), ranks=(9,))], "none": [],
        "unjudged": [finding(tmp_path, cannot_judge="The update is zero.", scores=Scores({}))],
    }  # fmt: skip
    page = words(render(cases[kind], planned(2), tmp_path))
    assert re.findall(CLAIMS, page, re.I) == []
    assert kind == "none" or "What it means:" in page


def test_the_claims_are_found_where_they_stand():
    assert re.findall(CLAIMS, "The client is compliant, safe and anonymous.", re.I) == [
        "compliant",
        "safe",
        "anonymous",
    ]


def test_the_footer_names_the_hashes(tmp_path):
    run = dataclasses.replace(
        RUN, identity={"0: model sha256": "m" * 64, "1: model sha256": "m" * 64, "data sha256": "d"}
    )
    cases = [finding(tmp_path, update_sha256="a" * 64), defended(tmp_path, update_sha256="b" * 64, repeat=1)]
    assert dict(provenance(cases, run)) == {
        "audit file sha256": hashlib.sha256(b"seed: 0\n").hexdigest(), "update sha256, no defense, batch 1": "a" * 64,
        "update sha256, noise, batch 2": "b" * 64, "model state sha256": "m" * 64, "gradaudit": "0.1.0",
    }  # fmt: skip
    page = render(cases, run, tmp_path)
    footer = page[page.index("<footer>") :]
    assert footer.count("<dd>") == 5
    assert "a" * 64 in footer
    many = [defended(tmp_path, str(i), update_sha256=f"{i:064x}", repeat=i) for i in range(MOST_UPDATES + 3)]
    assert ("further updates", "3, in results.jsonl") in provenance(many, run)


def test_a_finding_holds_the_hash_of_the_update_that_the_adversary_saw():
    client, batch = Client(linear_net()), make_batch(1, side=4, classes=5)
    short = dataclasses.replace(ATTACKS["dlg"].stages[0], steps=1)
    attack, knowledge = dataclasses.replace(ATTACKS["dlg"], stages=(short,)), Level.PRIORS | Knowledge.LABELS
    none = torch.zeros(0, 1, 4, 4)
    case = Case("a", "dlg", attack, client, batch, knowledge, torch.zeros(1, 4, 4), none)
    seen = case.observe().update
    found = audit.audit(case).finding
    assert found.update_sha256 == digest_of(seen.tensors)
    state = hashlib.sha256()
    for name, tensor in seen.tensors.items():
        state.update(name.encode() + tensor.numpy().tobytes())
    assert found.update_sha256 == state.hexdigest()
