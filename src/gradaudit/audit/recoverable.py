"""What the updates of an audit determine about the private images, without any attack."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..client.participant import Client
from ..client.update_map import UpdateMap, update_map
from ..data.modalities import private_among
from ..metrics.linearisation import Linearised, ProductWatch
from ..metrics.posterior_variance import VarianceRatios, exact_ratios, fits_exactly, rounding_noise
from ..metrics.variance_bounds import LanczosEffort, estimated_ratios
from ..protocol.defenses import describe
from ..values.errors import AuditError
from ..values.memory import memory_here
from ..values.types import Batch
from .plan import Plan
from .recoverability_section import RecoverabilitySection
from .schedule import Schedule

UNIFORM = 1 / 12
"""Variance of a pixel that is uniform in [0, 1]."""
CAPTURED = (
    "recoverability: is that of a simulated client, and update names a captured one. Remove one of them, or declare "
    "the client's model, data and training in a file without update."
)


@dataclass(frozen=True)
class Recoverability:
    """What one update determines at one noise level.

    Args:
        client: Name of the client.
        number: Number of the client in the run, from 0.
        repeat: Number of the batch, from 0.
        examples: Number of images.
        pixels: d, the number of pixel values of all images.
        entries: m, the number of entries of the update.
        level: The noise level as given; 0 for the rounding error of the shared numbers.
        noise: Root mean square of the standard deviations of the noise on the entries.
        variance: v, the prior variance of a pixel.
        mean: Mean ratio of posterior to prior variance, from 0 (determined) to 1 (nothing beyond the prior).
        error: How far the exact mean may be from `mean`; 0 if exact.
        exact: Whether the ratios are exact.
        each: Mean ratio of each image; an upper bound if not exact.
        below_half: Share of the pixel values with a ratio below one half; a lower bound if not exact.
        psnr: The PSNR in dB that the mean squared error does not exceed.
        seconds: Computing time.
        maps: Path of the map of each image, or empty.
        remarks: What was assumed, in sentences.
    """

    client: str
    number: int
    repeat: int
    examples: int
    pixels: int
    entries: int
    level: float
    noise: float
    variance: float
    mean: float
    error: float
    exact: bool
    each: tuple[float, ...]
    below_half: float
    psnr: float
    seconds: float
    maps: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def determined(self) -> float:
        """Effective number of pixel values that the update determines."""
        return (1.0 - self.mean) * self.pixels

    @property
    def ends(self) -> tuple[float, float]:
        """Lower and upper bound of the mean ratio."""
        return max(0.0, self.mean - self.error), min(1.0, self.mean + self.error)


def recoverability(
    client: Client,
    batch: Batch,
    noise: Sequence[float] = (0.0,),
    *,
    variance: float = UNIFORM,
    seed: int = 0,
    effort: LanczosEffort | None = None,
    exact: bool | None = None,
    watch: ProductWatch | None = None,
) -> Iterator[tuple[Recoverability, Tensor]]:
    """Yield what a client's update of a batch determines at every noise level, with the map of the ratios.

    A map has the shape of the images, `[B, C, H, W]`.

    Args:
        client: The client; see `update_map` for what its update is as a function of its images.
        batch: The private images.
        noise: Standard deviations of Gaussian noise on each entry; 0 for the rounding error of the shared numbers.
        variance: v, the variance of a pixel among images like the private ones.
        seed: Seed as for `Client.share`.
        effort: How much is computed where the Jacobian is too large.
        exact: Whether the whole Jacobian is computed; by default it is where it fits.
        watch: Called with the progress: (finished products with the Jacobian, all).

    Raises:
        AuditError: `update_map` raises it, the update is not finite, or a noise level or the variance is out of range.

    >>> client = ga.Client(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 5)))
    >>> batch = ga.Batch(torch.rand(1, 1, 4, 4), torch.tensor([3]))
    >>> [round(row.mean, 3) for row, _ in ga.audit.recoverability(client, batch, [0.0, 100.0])]
    [0.0, 1.0]
    """
    for level in noise:
        if not 0 <= level < math.inf:
            raise AuditError(f"noise: must be at least 0 and finite. Found {level}.")
    began = time.monotonic()
    given = update_map(client, batch, seed=seed)
    line = Linearised(given.function, given.images)
    if not bool(line.value.isfinite().all()):
        raise AuditError("recoverability: the update holds NaN or infinity. Check the weights and the learning rate.")
    whole = fits_exactly(*line.sizes, _memory(line.value)) if exact is None else exact
    levels = [_noise(level, line, given) for level in noise]
    remarks = tuple(_remarks(given))
    if whole:
        found = exact_ratios(line, levels, variance, watch)
    else:
        found = estimated_ratios(line, levels, variance, effort, watch)
    for level, used, ratios in zip(noise, levels, found, strict=True):
        yield (
            _record(client, line, level, used, variance, ratios, time.monotonic() - began, remarks),
            ratios.ratios.detach().float().cpu(),
        )
        began = time.monotonic()


def recoverability_of(
    schedule: Schedule, section: RecoverabilitySection, watch: Callable[[int], ProductWatch | None] | None = None
) -> Iterator[tuple[Recoverability, Tensor]]:
    """Yield the recoverability of every batch of an audit, with its map, at every noise level.

    Args:
        schedule: The cases of one simulated client.
        section: The noise levels, and how much is computed.
        watch: Called with the number of a batch; returns what is called with the progress on it.

    Raises:
        AuditError: The client is a captured one, or `recoverability` raises it.
    """
    plan = require_simulated(schedule)
    for repeat in range(plan.repeats):
        about = plan.about(repeat)
        variance, remark = prior_variance(about["batch"], plan.public, about["distractors"])
        effort = LanczosEffort(section.steps, section.probes)
        told = None if watch is None else watch(repeat)
        for row, ratios in recoverability(
            plan.client, about["batch"], section.noise, variance=variance, seed=plan.chance(repeat), effort=effort,
            watch=told,
        ):  # fmt: skip
            values = {**vars(row), "number": plan.number, "repeat": repeat, "remarks": (remark, *row.remarks)}
            yield Recoverability(**values), ratios


def require_simulated(schedule: Schedule) -> Plan:
    """Return the schedule of an audit file with a simulated client. Raise `AuditError` if the update was captured."""
    if not isinstance(schedule, Plan):
        raise AuditError(CAPTURED)
    return schedule


def prior_variance(batch: Batch, public: Batch | Tensor | None, others: Tensor) -> tuple[float, str]:
    """Return the variance of a pixel around its mean over images like the private ones, and where it comes from.

    Args:
        batch: The private images.
        public: Public images, which take precedence; private ones among them are left out.
        others: Other images of the client's source, `[N, C, H, W]`.
    """
    pictures, whose = others, "other images of the source"
    if public is not None:
        shown = public.inputs if isinstance(public, Batch) else public
        pictures, whose = shown[~private_among(public, batch).to(shown.device)], "public images"
    found = float(pictures.double().var(0).mean()) if len(pictures) > 1 else 0.0
    if not found > 0:
        return UNIFORM, "The prior variance is 1/12, that of a uniform pixel: there are no other images."
    return found, f"The prior variance is that of {len(pictures)} {whose} around their pixelwise mean."


def _memory(like: Tensor) -> int:
    """Return the bytes of the machine, or the free bytes of the GPU that holds a tensor."""
    return int(torch.cuda.mem_get_info(like.device)[0]) if like.is_cuda else memory_here()


def _noise(level: float, line: Linearised, given: UpdateMap) -> float | Tensor:
    total = math.hypot(level, given.noise)
    return total if total > 0 else rounding_noise(line.value, given.counts, given.precision)


def _remarks(given: UpdateMap) -> Iterator[str]:
    if given.noise:
        yield f"Every level includes the client's own Gaussian noise of standard deviation {given.noise:g}."
    if given.left_out:
        named = ", ".join(map(describe, given.left_out))
        yield f"Before {named}: after it the update determines at most as much."
    if sum(given.counts) < given.images.numel():
        yield (
            f"The update has {sum(given.counts)} entries and the images {given.images.numel()} values: different "
            "images share one update."
        )


def _record(
    client: Client,
    line: Linearised,
    level: float,
    noise: float | Tensor,
    variance: float,
    found: VarianceRatios,
    seconds: float,
    remarks: tuple[str, ...],
) -> Recoverability:
    m, d = line.sizes
    spread = torch.as_tensor(noise, dtype=torch.float64)
    return Recoverability(
        client=client.described,
        number=0,
        repeat=0,
        examples=len(found.ratios),
        pixels=d,
        entries=m,
        level=level,
        noise=float(spread.square().mean().sqrt()),
        variance=variance,
        mean=found.mean,
        error=found.error,
        exact=found.exact,
        each=tuple(found.ratios.flatten(1).mean(1).tolist()),
        below_half=found.below_half,
        psnr=found.psnr(variance),
        seconds=seconds,
        remarks=remarks,
    )
