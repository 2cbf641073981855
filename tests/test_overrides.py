import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gradaudit.attacks import ATTACKS, INVERTING_GRADIENTS, MULTI_MODAL, constructors
from gradaudit.audit.overrides import construct, override
from gradaudit.inversion.parts.gradient_transforms import Noise
from gradaudit.inversion.parts.labels import IDLG
from gradaudit.inversion.parts.objectives import Euclidean
from gradaudit.inversion.parts.optimisers import LBFGS
from gradaudit.values.errors import AuditError


def change(path, new):
    return override(INVERTING_GRADIENTS, path, new, constructors(), at="attacks.0")


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
    assert change("stages.0.gradient.0", "Noise(0.1)").stages[0].gradient == (Noise(0.1),)
    assert change("stages.0.optimiser", "LBFGS(inner=3)").stages[0].optimiser == LBFGS(inner=3)


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
        ("stages.0.steps", 0, "attacks.0.stages.0.steps: should be greater than or equal to 1. Found 0"),
        ("objective", "Cosign()", r"unknown part Cosign. Did you mean Cosine\?"),
        ("objective", "IDLG()", "objective: should be an instance of Objective"),
        ("stages.0.optimiser", "Cosine()", "stages.0.optimiser: should be an instance of Optimiser"),
        ("stages.0.gradient.0", "Adam()", "stages.0.gradient.0: should be an instance of GradientTransform"),
        ("stages.²", 3, "no entry ²"),
        ("stages." + "9" * 5000, 3, "no entry 999"),
        ("", 3, "has no field ."),
        ("stages.0.steps", 10**12, "attacks.0.stages.0.steps: 1000000000000 is out of range"),
        ("stages.0.optimiser.lr", float("nan"), "attacks.0.stages.0.optimiser.lr: nan is out of range"),
        ("stages.0.optimiser.milestones", [0.5, float("inf")], "milestones: .* is out of range"),
        ("stages.0.terms", ["a"] * 9_000, r"terms: should be an instance of Term. Found \('a', .*\.\.\.\.$"),
        ("stages", [], "stages must be at least 1"),
        ("objective", "Cosine(1, 2, 3)", "attacks.0.objective: Cosine takes at most 0 values. Found 3"),
        ("objective", "EuclideanL1(alpha='a')", "objective: EuclideanL1.alpha: should be a valid number. Found 'a'"),
        ("objective", "EuclideanL1(alpha=1e999)", "EuclideanL1.alpha: inf is out of range"),
        ("objective", "EuclideanL1(alpha=1, alpha=2)", "EuclideanL1: gives alpha twice"),
        ("objective", "EuclideanL1(1, alpha=2)", "EuclideanL1: gives alpha twice"),
        ("objective", "EuclideanL1(beta=1)", "EuclideanL1 has no field beta. Did you mean alpha|Known: alpha"),
        ("objective", "EuclideanL1(**{})", "a part cannot be given with a star"),
        ("objective", "EuclideanL1(*[1])", "a part cannot be given with a star"),
        ("stages.0", "Stage(Pixels())", "Stage needs optimiser"),
        ("objective", "Cosine()()", "only numbers, text, lists and parts"),
        ("objective", "-" * 9_000 + "1)", "cannot read .* as a value"),
        ("objective", "[" * 900 + "]" * 900 + "()", "cannot read .* as a value"),
        ("objective", "(" * 9_000 + ")", "cannot read .* as a value"),
        ("objective", "x" * 30_000 + "()", "too long for a value, 30002 characters"),
        ("objective", "__import__('os').system('true')", "cannot read|unknown part"),
        ("stages.0.steps.deep", 1, "int has no field deep"),
        ("stages.0.parametrisation.init", "grow", "should be 'normal', 'uniform' or 'grey'"),
    ],
)
def test_refuses_with_the_reason(path, new, message):
    with pytest.raises(AuditError, match=message):
        change(path, new)


@pytest.mark.parametrize("attack", [*ATTACKS.values(), *MULTI_MODAL.values()], ids=lambda attack: attack.name)
def test_construct_reads_back_every_repr(attack):
    assert construct(repr(attack), constructors()) == attack


def test_a_text_that_ends_in_a_bracket_is_text():
    assert change("paper", "somewhere (2020)").paper == "somewhere (2020)"


PATHS = ("stages.0.steps", "stages.0.optimiser", "stages.0.terms", "objective", "labels", "seeds", "step", "together")
CALL = st.text(alphabet="Cosine()L1,*=[]{}'\"0123.-+aj\n\0", max_size=20)


@given(st.sampled_from(PATHS), CALL | st.integers() | st.floats() | st.lists(st.none() | st.text(max_size=3)))
@example("objective", "Cosine(")
@example("objective", "{[]}()")
@example("step", "\0)")
def test_any_value_is_taken_or_refused(path, new):
    problem = ""
    try:
        change(path, new)
    except AuditError as error:
        problem = str(error)
    assert problem.isprintable()
