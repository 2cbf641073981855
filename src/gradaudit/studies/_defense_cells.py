"""What the studies of defenses share: a naive attack, its adaptive twin on the same update, and the accuracy left."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..audit.attempt import attack_seed
from ..audit.label_audit import score_methods
from ..client.federation import Trained, train_federation
from ..client.federation_settings import Federation, partition
from ..inversion.attack import Attack
from ..inversion.run.adaptive import Adaptive
from ..protocol.defenses import Defense
from ..values.types import Batch, Knowledge, Level
from ._attack_cell import AttackCell
from ._bench import Bench
from ._definition import Table, Values
from ._generator_rows import unmade

TABLES = (
    Table(
        "What comes back, and what the defense costs",
        {
            "gain, naive, dB": "naive.gain",
            "gain, adaptive, dB": "adaptive.gain",
            "adaptive above naive, dB": "advantage",
            "SSIM, naive": "naive.ssim",
            "SSIM, adaptive": "adaptive.ssim",
            "identified, naive": "naive.identified",
            "identified, adaptive": "adaptive.identified",
            "labels right": "labels",
            "accuracy": "accuracy",
            "seconds": "seconds",
        },
        best="column",
        smaller=("naive.gain", "adaptive.gain", "naive.ssim", "adaptive.ssim", "seconds"),
    ),
)
READING = "bias-counts"
ATTACKED = Level.BASIC | Knowledge.LABELS


@dataclass(frozen=True)
class DefenseCell:
    """One defense: an attack that does not know it, the same attack adapted to it, and a federation that uses it.

    Both attacks face the same update. Cells with the same network and batch size face the same private batches, and
    their federations the same batches in the same order, so that cells can be compared in pairs.

    Args:
        name: Name in the table.
        defense: The defense, if any.
        attack: The attack, with granted labels.
        network: Name of a model.
        batch_size: Number of private examples.
        federation: The federation whose accuracy is measured, if any.
    """

    name: str
    defense: Defense | None
    attack: Attack
    network: str = "fedavg-cnn"
    batch_size: int = 2
    federation: Federation | None = None

    def missing(self, bench: Bench) -> str | None:
        """Return why the cell cannot be measured, or `None`."""
        return self._naive.missing(bench) or unmade(self.attack, bench.source.shape)

    @property
    def _naive(self) -> AttackCell:
        facts = ATTACKED | self.attack.needs
        return AttackCell(self.name, self.attack, self.network, self.batch_size, defense=self.defense, knowledge=facts)

    def measure(self, bench: Bench, seed: int) -> Values:
        """Return the scores of both attacks, the share of labels that are read right, and the accuracy."""
        naive = self._naive.measure(bench, seed)
        found: dict[str, float | None] = {f"naive.{key}": value for key, value in naive.items()}
        seconds = naive["seconds"] or 0.0
        if self.defense is not None:
            facts = self._naive.knowledge | Knowledge.DEFENSE
            known = replace(self._naive, attack=Adaptive(self.attack), knowledge=facts)
            adaptive = known.measure(bench, seed)
            found |= {f"adaptive.{key}": value for key, value in adaptive.items()}
            found["advantage"] = _minus(adaptive["gain"], naive["gain"])
            found["advantage.ssim"] = _minus(adaptive["ssim"], naive["ssim"])
            seconds += adaptive["seconds"] or 0.0
        found["labels"] = self._labels_right(bench, seed)
        return {**found, "accuracy": self._accuracy(bench, seed), "seconds": seconds}

    def _labels_right(self, bench: Bench, seed: int) -> float | None:
        """Return the share of labels that the bias row of the head reveals if they are not granted."""
        batch, seen = self._naive.shared(bench, seed, Level.PRIORS)
        return score_methods(seen, batch.labels, (READING,), attack_seed(bench.chance(seed)))[READING].get("recall")

    def _accuracy(self, bench: Bench, seed: int) -> float | None:
        """Return the accuracy on held-out examples after the last round; BatchNorm trains with batch statistics."""
        trained = self._trained(bench, seed)
        return None if trained is None else trained.scores[-1].accuracy

    def _trained(self, bench: Bench, seed: int) -> Trained | None:
        """Return the training of the federation, or `None` without one or without labels."""
        if self.federation is None or not bench.labelled:
            return None
        source = bench.source
        parts = partition(len(source), bench.labels, self.federation, bench.chance(seed))

        def gather(indices: list[int]) -> Batch:
            return Batch(source.stack(indices), bench.labels[indices]).to(bench.device)

        attacked = self._naive.client(bench, seed)
        client = replace(attacked, training=replace(attacked.training, batch_norm="train"))
        return train_federation(client, gather, parts, self.federation, bench.chance(seed), points=1)


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
