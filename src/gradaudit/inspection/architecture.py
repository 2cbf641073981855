"""The static risk of an architecture: frozen values of plain numbers and strings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .facts import plain

CAUTION = (
    "'Nothing exact' is not an all-clear: iterative attacks may still recover the examples. Run an audit "
    "(gradaudit audit) to measure what they recover."
)


@dataclass(frozen=True)
class Giveaway:
    """Something that the gradient of one layer gives away exactly.

    Args:
        attack: The attack or method that reads it.
        gives: `"examples"`, `"direction"` (an example up to a factor), `"tokens"`, `"texts"`, `"features"` (the input
            of a later layer), `"labels"` or `"statistics"` (mean and variance of the batch).
        examples: Largest batch for which this is exact, or `None` if every batch size works.
        sentence: The same in one sentence.
    """

    attack: str
    gives: str
    examples: int | None
    sentence: str


@dataclass(frozen=True)
class EquationCount:
    """The equations of one layer for its own input, as R-GAP counts them (Zhu & Blaschko, 2021).

    Args:
        gradient: Number of gradient constraints: entries of its gradient, without that of the bias, which does not
            depend on the input.
        weight: Number of weight constraints W x = z, for the whole batch: known entries of its output. They are 0 for
            a linear layer, whose gradient constraints suffice, and where the output does not follow from the next
            layer.
        unknowns: Entries of its input, for the whole batch.
        rank: Rank of the equations for one example, if it was measured.
        deficit: Unknowns that the equations leave open. If `measured` is false, this is unknowns minus equations, and
            at least 0: the true deficit may be larger.
        measured: Whether the deficit follows from a measured rank.
    """

    gradient: int
    weight: int
    unknowns: int
    rank: int | None
    deficit: int
    measured: bool


@dataclass(frozen=True)
class LayerRisk:
    """One layer with parameters of its own.

    Args:
        name: Path in the model; empty for the model itself.
        kind: Its class.
        shapes: Name -> shape of its parameters.
        trainable: Number of its parameters that are trained, and so shared.
        calls: How often one forward pass calls it.
        takes_example: Whether its input is the private example itself.
        input_shape: Shape of its input for one example, or `None` if it was not seen.
        output_shape: The same of its output.
        equations: Equations and unknowns, or `None` if its input was not seen or it is not trained.
        condition: Condition number of its weight as a matrix (infinite if the matrix is singular), or `None` if it has
            no matrix, or too large a one.
        off: Share of its outputs on which the model's output does not depend, for random inputs; about one half in
            front of a ReLU, 0 in front of a smooth activation.
        gives: What it gives away exactly.
        nothing: Why it gives nothing exact away, or empty.
    """

    name: str
    kind: str
    shapes: Mapping[str, tuple[int, ...]]
    trainable: int
    calls: int
    takes_example: bool
    input_shape: tuple[int, ...] | None
    output_shape: tuple[int, ...] | None
    equations: EquationCount | None
    condition: float | None
    off: float | None
    gives: tuple[Giveaway, ...] = ()
    nothing: str = ""


@dataclass(frozen=True)
class BatchCount:
    """Shared parameters against unknowns for one batch size (SoK v2, Du et al., 2024, theorem 4.3).

    Args:
        batch_size: Number of examples.
        unknowns: Entries of all examples together.
        ambiguous: Whether there are fewer parameters than unknowns, so that different batches share one update.
    """

    batch_size: int
    unknowns: int
    ambiguous: bool


@dataclass(frozen=True)
class Adapter:
    """One LoRA adapter: y = W x + s B A x, with A `[r, n]` and B `[m, r]`.

    Args:
        name: Path of the adapted layer.
        rank: r.
        inputs: n.
        outputs: m.
        zero: The factor that is zero: `"B"`, `"A"`, or an empty string.
    """

    name: str
    rank: int
    inputs: int
    outputs: int
    zero: str


@dataclass(frozen=True)
class LayerOnBatch:
    """What a given batch shows about one layer.

    Args:
        name: Path of the layer.
        units: Number of its outputs, or `None` if it does not run once for each example.
        exclusive: Number of units that exactly one example activates; `None` where no unit is ever off.
        examples: Examples, by number in the batch, that activate a unit alone.
        d_snr: D-SNR of its weight: the largest gradient norm of an example over the sum of all others (infinite if all
            others are zero); `None` if it could not be measured.
    """

    name: str
    units: int | None
    exclusive: int | None
    examples: tuple[int, ...]
    d_snr: float | None


@dataclass(frozen=True)
class BatchRisk:
    """What a given batch shows.

    Args:
        data: The data in words.
        batch_size: Number of examples.
        layers: The layers, in the order in which they run.
        exact: Examples that leave exactly because they alone activate a unit of the linear layer that takes the
            examples; `None` for a model without such a layer.
        notes: Sentences on how this was measured.
    """

    data: str
    batch_size: int
    layers: tuple[LayerOnBatch, ...]
    exact: tuple[int, ...] | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Architecture:
    """The static risk of an architecture; `to_json` returns the same as plain data.

    Args:
        model: Name of the model.
        modality: Kind of the examples.
        input_shape: Shape of one example.
        batch_size: Batch size for which equations and unknowns are counted.
        parameters: Number of trained parameters.
        frozen: Number of parameters that are not trained, and so not shared.
        layers: Layers with parameters, in the order in which they run, those that are not called last.
        counts: Parameters against unknowns; empty for text, whose tokens are discrete.
        chain: Why R-GAP does not apply to the model, without a full stop; or empty if it applies.
        adapters: LoRA adapters.
        on_batch: What a given batch shows, or `None`.
        verdict: The result in one sentence.
        notes: Sentences on what was assumed.
        caution: What the result does not say.
    """

    model: str
    modality: str
    input_shape: tuple[int, ...]
    batch_size: int
    parameters: int
    frozen: int
    layers: tuple[LayerRisk, ...]
    counts: tuple[BatchCount, ...]
    chain: str
    adapters: tuple[Adapter, ...]
    on_batch: BatchRisk | None
    verdict: str
    notes: tuple[str, ...]
    caution: str = CAUTION

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `json.dumps`: without NaN and infinity, which become `None`."""
        return plain(self)  # type: ignore[no-any-return]
