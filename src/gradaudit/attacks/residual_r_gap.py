"""R-GAP's recursion on a batch through a residual network whose last feature map is a single pixel."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d, one_hot
from torchvision.models.resnet import BasicBlock, ResNet

from ..inversion.attack import Watch, portion
from ..inversion.parts.labels._head import displacement, local_steps
from ..inversion.run.refusal import attacked, require_fit
from ..inversion.step.matching import explains
from ..protocol.observation import Observation
from ..values.chance import seeded
from ..values.errors import AttackFailed
from ..values.types import Knowledge, Modality, Reconstruction
from ..values.validation import Count, NonNegative
from ._certificate import recomputed
from ._demonstration import Demonstration
from ._pixel_fit import KnownMap, fitted_pixels
from ._separation import separate_head, solve_inputs

CONTRADICTION = 1e-2  # relative residual from which the equations of a layer contradict each other
AGREEMENT = 1e-5  # relative residual at which the search for the active units ends
ACTIVE = (1e-6, 3e-7, 1e-7, 3e-6, 1e-5, 1e-4, 1e-3)  # least value of an active unit, as a share of the largest
Solve = Callable[[Tensor], tuple[Tensor, float]]


@dataclass(frozen=True)
class ResidualRGap:
    """Solve a residual network for the activations of each example, from the last layer to the first, then the pixels.

    The gradient of the last layer separates the features of the examples (`separate_head`). If the last feature map is
    a single pixel, as in ResNet-18 at 32 pixels, these features are its map, and the gradient with respect to it is
    known. From there, the gradient of each convolution is a linear system for its inputs, overdetermined as long as the
    maps are small: the units that are off have no gradient, and the next gradient follows by the chain rule, as in
    R-GAP (Zhu & Blaschko, 2021). A shortcut also gives the entries of its block's input where the output is active. The
    recursion ends before a layer whose equations contradict each other. The pixels are then fitted to the earliest map
    that was found and, if that is the stem's, to the gradient of the first convolution, from coarse to fine by Adam.
    Only the front of the network is computed for that, so that a step costs a few per cent of gradient matching.

    The model must be torchvision's `ResNet` of basic blocks, with BatchNorm in evaluation mode; the labels distinct or
    fewer than the classes; and the update one gradient.

    Args:
        name: Name of the attack.
        paper: arXiv id.
        steps: Number of steps of each fit.
        restarts: Number of fits from random pixels; the one with the lowest error is returned.
        lr: Learning rate of the last fit.
        variation: Weight of total variation in it.
        deviations: Differences from the paper.
    """

    name: str = "residual-r-gap"
    paper: str = "arXiv:2010.07733"
    steps: Count = 400
    restarts: Count = 3
    lr: NonNegative = 0.1
    variation: NonNegative = 1e-2
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE | Knowledge.LABELS
    modality: ClassVar[Modality] = Modality.PICTURES
    deviations: tuple[str, ...] = (
        "solves a batch through residual blocks and BatchNorm in evaluation mode; the paper solves one image through a "
        "chain of layers",
        "uses the equations of the gradients and of the shortcuts, not the weight constraints of the convolutions",
        "fits the pixels to the first map by gradient descent, since max-pooling hides which pixel it takes",
    )

    def __call__(
        self, seen: Observation, *, seed: int = 0, watch: Watch | None = None, keep: Path | None = None
    ) -> Reconstruction:
        """Run the attack; neither the observation nor the global random state is changed.

        Args:
            seen: What the adversary sees.
            seed: Seed of the starts of both searches.
            watch: Callback, called with the steps of the last fit and its loss.
            keep: Not used: the attack takes seconds.

        Raises:
            MissingKnowledge: The batch size or the labels were not granted.
            AttackFailed: The model is no such network, there are several steps, or the last layer cannot be separated.
        """
        require_fit(self, seen.knowledge, seen.modality)
        if local_steps(seen) > 1 or seen.batch_norm != "eval":
            raise AttackFailed(f"{self.name}: solves one gradient, with BatchNorm in evaluation mode.")
        seen = attacked(self.name, seen)
        assert seen.labels is not None
        with seeded(seed, seen.device):
            try:
                peeled = _Peeling(seen, seen.labels)
            except AttackFailed as error:
                raise AttackFailed(f"{self.name}: {error}") from error
            settings, known = (self.steps, self.lr, self.variation), peeled.known()
            fits = [fitted_pixels(seen, known, *settings, portion(watch, left)) for left in range(self.restarts, 0, -1)]
            inputs, trace = min(fits, key=lambda fit: fit[1][-1][1])
        return Reconstruction(
            inputs=seen.normalisation.invert(inputs),
            labels=seen.labels,
            objective=trace[-1][1],
            verified=explains(recomputed(seen, inputs, seen.labels), seen.update.values),
            labels_granted=True,
            trace=tuple(tuple(trace) for _, trace in fits),
            notes=(peeled.note,),
        )


class _Peeling:
    """The recursion over the blocks: `front` is the part of the model up to the earliest map that was found.

    `target` is this map, `[B, C, H, W]`, and `note` says where it is.
    """

    def __init__(self, seen: Observation, labels: Tensor) -> None:
        model = seen.model
        if not isinstance(model, ResNet) or not all(
            isinstance(block, BasicBlock) for stage in _stages(model) for block in stage
        ):
            raise AttackFailed("the model is not torchvision's ResNet-18 or ResNet-34.")
        scale = displacement(seen)
        self.update = {name: value.double() / scale for name, value in seen.update.tensors.items()}
        self.blocks = [
            (f"layer{i}.{j}", block) for i, one in enumerate(_stages(model), 1) for j, block in enumerate(one)
        ]
        missing = [name for name, _ in model.named_parameters() if name.endswith("weight") and name not in self.update]
        if missing or "fc.bias" not in self.update:
            raise AttackFailed(f"the update contains no gradient of {(*missing, 'fc.bias')[0]}.")
        stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
        self.fronts = [stem]
        for _, block in self.blocks:
            self.fronts.append(nn.Sequential(self.fronts[-1], block))
        with torch.no_grad():
            probe = torch.zeros(1, *seen.input_shape).to(seen.update.values[0])
            self.sizes = [tuple(front(probe).shape[2:]) for front in self.fronts]
        if self.sizes[-1] != (1, 1):
            raise AttackFailed(f"the last feature map has {self.sizes[-1]} pixels, whose mean alone is known, not 1.")
        self._run(model, one_hot(labels, seen.classes).to(self.update["fc.weight"]))

    def _run(self, model: ResNet, targets: Tensor) -> None:
        head = separate_head(self.update["fc.weight"], self.update["fc.bias"], model.fc, targets)
        found, slopes = head.features[..., None, None].clamp_min(0), head.slopes @ model.fc.weight.detach().double()
        slopes, done, residual = slopes[..., None, None], len(self.blocks), 0.0
        while done:
            earlier, residual = self._block(done - 1, found, slopes)
            if earlier is None:
                break
            (found, slopes), done = earlier, done - 1
        self.target, self.slopes, self.front = found, slopes, self.fronts[done]
        where = "the stem" if not done else self.blocks[done - 1][0]
        self.at_stem, self.stem = not done, model.conv1.weight
        self.note = f"Solved exactly down to the output of {where}"
        self.note += "." if not done else f"; the equations before it disagree by {residual:.2g}."

    def known(self) -> KnownMap:
        """Return the earliest map that was found, in the model's precision."""
        weight, gradient = self.stem, self.update["conv1.weight"].to(self.stem)
        slopes = self.slopes.to(weight) if self.at_stem else None
        return KnownMap(self.front, self.target.to(weight), slopes, weight, gradient)

    def _block(self, number: int, found: Tensor, slopes: Tensor) -> tuple[tuple[Tensor, Tensor] | None, float]:
        """Return the input of a block and the slopes there, or `None`, and the residual of its equations."""
        name, block = self.blocks[number]
        inner, outer = (getattr(block, part) for part in ("conv1", "conv2"))
        first, second = (_factor(norm) for norm in (block.bn1, block.bn2))
        gradient = self.update[f"{name}.conv2.weight"]

        def before_outer(on: Tensor) -> tuple[Tensor, float]:
            return solve_inputs(gradient, slopes * on * second, outer, self.sizes[number + 1])

        middle, on, lost = _active(found, before_outer)
        if lost > CONTRADICTION:
            return None, lost
        middle = middle.clamp_min(0)
        at_sum = slopes * on
        at_middle = _back(at_sum * second, outer, middle.shape)
        known = None if block.downsample else self._through_shortcut(block, found, middle, on)

        def before_inner(active: Tensor) -> tuple[Tensor, float]:
            weight = self.update[f"{name}.conv1.weight"]
            return solve_inputs(weight, at_middle * active * first, inner, self.sizes[number], known)

        entered, active, lost = _active(middle, before_inner)
        if lost > CONTRADICTION:
            return None, lost
        past = _back(at_middle * active * first, inner, entered.shape)
        return (entered.clamp_min(0), past + _past(block.downsample, entered, at_sum)), lost

    @staticmethod
    def _through_shortcut(block: BasicBlock, found: Tensor, middle: Tensor, on: Tensor) -> Tensor:
        """Return the input of a block where its output is active, and NaN elsewhere."""
        shift = (block.bn2.bias - block.bn2.running_mean * block.bn2.weight / _deviation(block.bn2)).detach().double()
        made = nn.functional.conv2d(middle, block.conv2.weight.detach().double(), padding=1) * _factor(block.bn2)
        return torch.where(on, found - made - shift.view(1, -1, 1, 1), torch.nan)


def _active(values: Tensor, solve: Solve) -> tuple[Tensor, Tensor, float]:
    """Return the solution with the lowest residual over the thresholds of an active unit, its mask and residual."""
    best: tuple[Tensor, Tensor, float] | None = None
    for threshold in ACTIVE:
        on = values > threshold * values.max()
        found, residual = solve(on)
        if best is None or residual < best[2]:
            best = (found, on, residual)
        if best[2] < AGREEMENT:
            break
    assert best is not None
    return best


def _back(slopes: Tensor, conv: nn.Conv2d, shape: torch.Size) -> Tensor:
    """Return the gradient with respect to the input of a convolution, of this shape."""
    stride, padding, kernel = conv.stride[0], int(conv.padding[0]), conv.kernel_size[0]
    extra = [shape[axis] - ((slopes.shape[axis] - 1) * stride - 2 * padding + kernel) for axis in (2, 3)]
    weight = conv.weight.detach().double()
    return conv_transpose2d(slopes, weight, stride=stride, padding=padding, output_padding=extra)


def _past(shortcut: nn.Module | None, entered: Tensor, slopes: Tensor) -> Tensor:
    """Return the gradient with respect to the input of a shortcut, whatever it computes."""
    if shortcut is None:
        return slopes
    with torch.enable_grad():
        leaf = entered.detach().requires_grad_()
        added = deepcopy(shortcut).double().eval()(leaf) * slopes
        return torch.autograd.grad(added.sum() + 0 * leaf.sum(), leaf)[0]  # 0 * leaf: it may ignore its input


def _deviation(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.running_var is not None
    return torch.sqrt(norm.running_var + norm.eps)


def _factor(norm: nn.BatchNorm2d) -> Tensor:
    """Return the factor of each channel of a BatchNorm layer in evaluation mode, `[1, C, 1, 1]`."""
    return (norm.weight / _deviation(norm)).detach().double().view(1, -1, 1, 1)


def _stages(model: ResNet) -> tuple[nn.Sequential, ...]:
    return model.layer1, model.layer2, model.layer3, model.layer4


ATTACK = ResidualRGap()

DEMONSTRATION = Demonstration(
    ResidualRGap(steps=100, restarts=1, variation=0.0), network="short-resnet", size=16, least=4.0
)
