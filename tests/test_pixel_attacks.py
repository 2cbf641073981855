"""Every attack on pictures works under every protocol: what the client does is the simulation's business alone."""

from dataclasses import replace

import pytest
import torch

from gradaudit import Knowledge, Level
from gradaudit.attacks import ATTACKS
from gradaudit.inversion.parts import simulations
from gradaudit.inversion.parts.optimisers import LBFGS
from gradaudit.inversion.parts.parametrisations import Coarse, EpochCopies, Pixels
from gradaudit.inversion.run.gradient_matching import GradientMatching
from gradaudit.inversion.run.refusal import needs_given
from gradaudit.values.errors import AttackFailed
from gradaudit.values.types import UpdateKind
from test_protocols import PROTOCOLS, private, victim

LABELS = Level.BASIC | Knowledge.LABELS
STRANGERS = {
    "knows the training": LABELS | Knowledge.LOCAL_TRAINING,
    "knows nothing of it": LABELS,
}
TRIED = (
    "fedsgd, batch norm trains",
    "fedsgd, partial",
    "fedavg",
    "momentum",
    "adam",
    "batch norm trains",
    "shuffled",
    "partial",
    "gradient, partial",
)
# To whom knows nothing of the training, an update of FedAvg looks the same whatever its steps were.
ALIKE = ("momentum", "adam", "shuffled")
SETTINGS = [
    (protocol, stranger)
    for protocol in TRIED
    for stranger in STRANGERS
    if "nothing" not in stranger or protocol not in ALIKE
]
CLIENTS = {"one client": None, "two clients": (2, 1)}
SUMMED = ("fedsgd, partial", "fedavg", "shuffled", "gradient, partial")  # what is tried with two clients
RUNS = [
    pytest.param(protocol, stranger, CLIENTS[clients], id=f"{clients}-{protocol}-{stranger}")
    for clients in CLIENTS
    for protocol, stranger in SETTINGS
    if CLIENTS[clients] is None or protocol in SUMMED
]
SECOND_MODEL = (simulations.Segment, simulations.Bezier)


def of_pictures(attack):
    return isinstance(attack, GradientMatching) and isinstance(
        attack.stages[0].parametrisation, (Coarse, EpochCopies, Pixels)
    )


def brief(attack):
    """Two steps of one guess, and of two where guesses are to agree."""

    def stage(one):
        optimiser = replace(one.optimiser, inner=2) if isinstance(one.optimiser, LBFGS) else one.optimiser
        return replace(one, steps=2, optimiser=optimiser)

    return replace(attack, stages=tuple(map(stage, attack.stages)), seeds=min(2, attack.seeds), restarts=1)


def takes_any_network(attack):
    """Whether no prior asks for layers of its own, such as a patch embedding."""
    seen = victim(PROTOCOLS["fedsgd, partial"], None).share(private(1), LABELS)
    try:
        for stage in attack.stages:
            for term in stage.terms:
                term.prior.bind(seen)
    except AttackFailed:
        return False
    return True


def unlike(attack):
    """What decides how an attack deals with a protocol; of attacks alike in it, one is run."""
    stage = attack.stages[0]
    terms = tuple(type(term.prior) for term in stage.terms)
    return attack.simulation, type(attack.objective), type(stage.parametrisation), terms, attack.seeds, attack.needs


FITTING = (brief(attack) for attack in ATTACKS.values() if of_pictures(attack) and takes_any_network(attack))
PIXELS = {attack.name: attack for attack in {unlike(one): one for one in FITTING}.values()}


@pytest.mark.parametrize(("protocol", "stranger", "sizes"), RUNS)
def test_runs_without_a_line_of_its_own(protocol, stranger, sizes):
    client, batch, granted = victim(PROTOCOLS[protocol], sizes), private(3), STRANGERS[stranger]
    seen = client.share(batch, granted, seed=1)
    tried = 0
    for name, attack in PIXELS.items():
        if needs_given(attack, granted) & ~granted:
            continue
        if isinstance(attack.simulation, SECOND_MODEL) and seen.update.kind is UpdateKind.GRADIENT:
            with pytest.raises(AttackFailed, match="weight difference"):
                attack(seen)
            continue
        found = attack(seen, seed=1)
        assert found.inputs.shape == batch.inputs.shape, name
        assert torch.isfinite(found.inputs).all(), name
        assert torch.equal(found.labels, batch.labels), name
        tried += 1
    assert tried >= 7


@pytest.mark.parametrize(
    "simulation", [simulations.Unrolled("random"), simulations.Unrolled(minibatches="one")], ids=repr
)
def test_an_order_or_a_size_that_is_not_known(simulation):
    seen = victim(PROTOCOLS["shuffled"]).share(private(3), STRANGERS["knows the training"])
    for attack in PIXELS.values():
        if attack.simulation is None:
            found = replace(attack, simulation=simulation)(seen)
            assert torch.isfinite(found.inputs).all()
