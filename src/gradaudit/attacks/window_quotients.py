"""The bias attack on a convolutional sentence classifier: its filters reveal windows that overlap to the sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..inversion.attack import Watch
from ..inversion.parts.label_values import Labels
from ..inversion.parts.labels._head import local_steps
from ..inversion.parts.part import require_batch_size
from ..inversion.run.refusal import attacked, require_fit
from ..inversion.step.matching import explains
from ..models.copying import private_copy
from ..protocol.observation import Observation
from ..values.errors import AttackFailed
from ..values.types import Knowledge, Modality, Reconstruction
from ._certificate import label_of_one, recomputed
from ._demonstration import Demonstration
from ._windows import Window, contains, joined, numbered, sentences

ALIVE = 1e-6  # smallest bias gradient that is divided by, as a share of the largest
CHECKED = 50  # sentences whose update is recomputed


@dataclass(frozen=True)
class WindowQuotients:
    """window = ∂W_f / ∂b_f for a filter f of a convolution over spans of words, with max-pooling over the sentence.

    Max-pooling picks one position for each filter, so that for one example the quotient of weight and bias gradient is
    the window of words at that position, exactly (Phong et al., 2018, proposition 3.1 of Geiping et al., 2020, for
    one row of the linear map). Windows of all spans overlap; the attack joins them to the sentence whose windows they
    are, and recomputes the update. The result is `verified` if no other such sentence explains the update; repeated
    phrases may leave the order open. It does not depend on random choices.

    Every convolution that takes the whole sentence `[1, L, d]` with kernels `[s, d]`, step 1, no padding and a bias is
    used. Where the windows do not cover the sentence or their order is open, the runs of words that are certain are
    returned one after the other, the rest is filled with the middle of the box, and a note says so.

    Args:
        name: Name in the table of attacks.
        paper: Reference of the method.
        same: Distance up to which two words are equal, as a share of the longest word vector.
        deviations: Differences from the papers.
    """

    name: str = "window-quotients"
    paper: str = "doi:10.1109/TIFS.2017.2787987"
    same: float = 1e-3
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE
    modality: ClassVar[Modality] = Modality.PICTURES
    deviations: tuple[str, ...] = ("the papers state the quotient for linear layers; joining windows is new here",)

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Run the attack; neither the observation nor the global random state is changed.

        Args:
            seen: What the adversary sees.
            seed: Not used.
            watch: Callback, called once at the end.
            keep: Not used: the attack takes seconds.

        Raises:
            MissingKnowledge: The batch size was not granted.
            AttackFailed: There is more than one example or step, no such convolution, no active filter, or more
                different windows than one sentence has.
        """
        require_fit(self, seen.knowledge, seen.modality)
        if require_batch_size(seen, self) != 1:  # type: ignore[arg-type]
            raise AttackFailed(
                f"{self.name}: quotients of several sentences are mixtures; this update has more than one."
            )
        if local_steps(seen) > 1:
            raise AttackFailed(f"{self.name}: quotients are windows after one local step; the client took several.")
        seen = attacked(self.name, seen)
        rows, windows = self._windows(seen)
        self._require_room(windows, seen.input_shape[-2])
        labels = label_of_one(seen)
        found = _best(seen, rows, windows, labels)
        if watch is not None:
            watch(1, 1, found.missing)
        return Reconstruction(
            inputs=seen.normalisation.invert(found.inputs.to(seen.update.values[0])),
            labels=labels.values if labels else None,
            objective=found.missing,
            verified=found.verified,
            labels_granted=seen.labels is not None,
            trace=(((1, found.missing),),),
            notes=found.notes,
        )

    def _require_room(self, windows: set[Window], length: int) -> None:
        """Raise `AttackFailed` if a sentence of this length cannot have so many different windows."""
        most = sum(length - span + 1 for span in {len(one) for one in windows})
        if len(windows) > most:
            raise AttackFailed(
                f"{self.name}: the filters show {len(windows)} different windows, and a sentence of {length} words has "
                f"{most}: a defense changed the update, or it is not of one example and one step."
            )

    def _windows(self, seen: Observation) -> tuple[Tensor, set[Window]]:
        """Return the distinct words `[n, d]`, and the windows that the filters reveal."""
        words, weights, spans = [], [], []
        for name, layer in _over_words(seen.model, seen.input_shape):
            tensors = [seen.update.tensors.get(f"{name}.{kind}") for kind in ("weight", "bias")]
            if tensors[0] is None or tensors[1] is None:
                continue
            weight, bias = (one.double().cpu() for one in tensors)  # type: ignore[union-attr]
            if not (weight.isfinite().all() and bias.isfinite().all()):
                raise AttackFailed(f"{self.name}: the gradient of {name} contains NaN or infinity.")
            alive = (bias.abs() > ALIVE * bias.abs().max()).nonzero().flatten()
            alive = alive[bias[alive].abs().argsort(descending=True)]
            words.append((weight[alive] / bias[alive].view(-1, 1, 1, 1)).flatten(0, 2))
            weights.append(bias[alive].abs().repeat_interleave(layer.kernel_size[0]))
            spans += [layer.kernel_size[0]] * len(alive)
        if not words or not spans:
            raise AttackFailed(
                f"{self.name}: no convolution over whole words of the sentence, with a bias and without padding, has "
                "an active filter in this update."
            )
        rows = torch.cat(words)
        order = torch.cat(weights).argsort(descending=True, stable=True)
        distinct, numbers = numbered(rows[order], self.same)
        place = torch.empty_like(order)
        place[order] = torch.tensor(numbers)
        starts = torch.tensor([0, *spans[:-1]]).cumsum(0).tolist()
        return distinct, {
            tuple(place[start : start + span].tolist()) for start, span in zip(starts, spans, strict=True)
        }


class _FoundSentence(NamedTuple):
    """A sentence `[1, 1, L, d]`, normalised, the share of its words that are missing, and what is known about it."""

    inputs: Tensor
    missing: float
    verified: bool
    notes: tuple[str, ...]


def _over_words(model: nn.Module, shape: tuple[int, ...]) -> Iterator[tuple[str, nn.Conv2d]]:
    """Yield the convolutions that take the sentence itself, with kernels over whole words, and are called once."""
    model = private_copy(model).double().cpu().eval()
    probe = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    called: dict[str, list[Tensor]] = {}
    layers = {name: one for name, one in model.named_modules() if isinstance(one, nn.Conv2d)}
    hooks = [
        layer.register_forward_pre_hook(lambda _, args, name=name: called.setdefault(name, []).append(args[0]))
        for name, layer in layers.items()
    ]
    with torch.no_grad():
        model(probe.clone())
    for hook in hooks:
        hook.remove()
    for name, layer in layers.items():
        plain = layer.padding in ((0, 0), "valid") and layer.stride[0] == 1 and layer.dilation == (1, 1)
        whole = shape[0] == layer.in_channels == layer.groups == 1 and layer.kernel_size[1] == shape[-1]
        given = called.get(name, [])
        if plain and whole and layer.bias is not None and len(given) == 1 and torch.equal(given[0], probe):
            yield name, layer


def _best(seen: Observation, rows: Tensor, windows: set[Window], labels: Labels | None) -> _FoundSentence:
    """Return the sentence whose update is the observed one, or the runs of words that are certain."""
    complete, whole = sentences(windows, seen.input_shape[-2], CHECKED)
    if not complete:
        return _in_runs(seen, rows, windows, seen.input_shape[-2])
    shaped = [rows[list(sentence)].view(1, *seen.input_shape).to(seen.update.values[0]) for sentence in complete]
    fitting = [
        one
        for one in shaped
        if labels is not None and explains(recomputed(seen, one, labels.values), seen.update.values)
    ]
    if len(fitting) == 1 and whole:
        return _FoundSentence(fitting[0], 0.0, True, (f"{len(windows)} windows overlap to the whole sentence.",))
    reason = "no label could be inferred" if labels is None else "the recomputed update differs"
    if fitting:
        reason = f"{len(fitting)} of them explain the update equally well" if whole else "there may be others"
    note = f"Not verified: {reason}; {len(complete)} sentences have these windows, and one of them is returned."
    return _FoundSentence((fitting or shaped)[0], 0.0, False, (note,))


def _in_runs(seen: Observation, rows: Tensor, windows: set[Window], length: int) -> _FoundSentence:
    """Return the runs of words that are certain one after the other, as many as the sentence has room for."""
    placed: Window = ()
    runs = 0
    for run in joined(windows):
        if len(placed) + len(run) <= length and not contains(placed, run):
            placed, runs = placed + run, runs + 1
    low, high = seen.normalisation.box(rows.view(-1, 1, 1, rows.shape[1]))
    inputs = torch.zeros(1, *seen.input_shape, dtype=rows.dtype) + ((low + high) / 2).reshape(1, -1, 1, 1)
    inputs[0, 0, : len(placed)] = rows[list(placed)]
    note = (
        f"Not verified: {len(windows)} windows give {len(placed)} of {length} words in {runs} runs; where each run "
        "stands is not known, and the rest is a fill."
    )
    return _FoundSentence(inputs, 1 - len(placed) / length, False, (note,))


ATTACK = WindowQuotients()

DEMONSTRATION = Demonstration(ATTACK, network="text-cnn", size=6, seeded=False)
