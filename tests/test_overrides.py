import pytest

from gradaudit.attacks import INVERTING_GRADIENTS
from gradaudit.errors import AuditError
from gradaudit.inversion import part_names
from gradaudit.inversion.labels import IDLG
from gradaudit.inversion.objectives import Euclidean
from gradaudit.overrides import construct, override


def change(path, new):
    return override(INVERTING_GRADIENTS, path, new, part_names(), at="attacks.0")


def test_changes_one_field_and_leaves_the_rest():
    changed = change("stages.0.steps", 2000)
    assert changed.stages[0].steps == 2000
    assert change("stages.0.steps", 4800) == INVERTING_GRADIENTS
    assert change("stages.0.terms.0.weight", 1).stages[0].terms[0].weight == 1.0
    assert change("stages.0.optimiser.milestones", [0.5]).stages[0].optimiser.milestones == (0.5,)


def test_takes_parts_by_their_constructors():
    assert change("labels", "IDLG()").labels == IDLG()
    assert change("selection", "Euclidean()").selection == Euclidean()
    assert change("stages.0.terms", "(Term(L2(), weight=0.5),)").stages[0].terms[0].weight == 0.5
    assert change("stages.0.gradient", []).stages[0].gradient == ()


@pytest.mark.parametrize(
    ("path", "new", "message"),
    [
        (
            "stages.0.step",
            3,
            r"attacks.0.stages.0.step: Stage has no field step. Did you mean steps\? Known: parametrisation",
        ),
        ("stages.1.steps", 3, "attacks.0.stages: no entry 1. It has 1, counted from 0"),
        ("stages.x", 3, "no entry x"),
        ("stages.0.steps", "many", "attacks.0.stages.0.steps: should be a valid integer. Found 'many'"),
        ("stages.0.steps", 1.5, "should be a valid integer"),
        ("stages.0.steps", 0, "stages.0.steps must be at least 1"),
        ("objective", "Cosign()", r"unknown part Cosign. Did you mean Cosine\?"),
        ("objective", "IDLG()", "objective: should be an instance of Objective"),
        ("objective", "Cosine(3)", "cannot read"),
        ("objective", "__import__('os').system('true')", "cannot read|unknown part"),
        ("stages.0.steps.deep", 1, "int has no field deep"),
        ("stages.0.parametrisation.init", "grow", "should be 'normal', 'uniform' or 'grey'"),
    ],
)
def test_refuses_with_the_reason(path, new, message):
    with pytest.raises(AuditError, match=message):
        change(path, new)


def test_construct_reads_back_every_repr():
    assert construct(repr(INVERTING_GRADIENTS), part_names()) == INVERTING_GRADIENTS
