"""One-way seeds: every use of randomness has its own, and no seed can be derived from another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor

GRAIN = (
    1e4  # resolution with which a tensor enters the hash, so that rounding differences between machines do not matter
)


def child_seed(seed: int, purpose: str, *secrets: Tensor | str) -> int:
    """Return the seed, in [0, 2**56), for one purpose.

    The seed is a hash. An adversary that has one child seed, guesses `seed` and knows every purpose still cannot
    compute the seed of a use whose secrets it does not know, such as the client's batch.

    Args:
        seed: Seed of the run, or a child of it.
        purpose: Name of the use.
        secrets: Values that only the client or the audit knows; tensors are rounded to 1e-4.
    """
    digest = hashlib.blake2b(f"{purpose} of {seed}".encode(), digest_size=7)
    for secret in secrets:
        digest.update(secret.encode() if isinstance(secret, str) else _rounded(secret))
    return int.from_bytes(digest.digest(), "big")


def forked(device: torch.device) -> AbstractContextManager[None]:
    """Return a context after which torch's random state is that of before, on the CPU and on the device."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw torch's random numbers from `seed` inside the context, and restore the previous state afterwards."""
    with forked(device):
        set_seed(seed)
        yield


def set_seed(seed: int) -> None:
    """Set the seed of torch's random numbers on the CPU and on CUDA devices.

    `torch.manual_seed` also notes the seed for accelerators that are not there, each with its call stack, which takes
    a hundred times as long.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


def _rounded(secret: Tensor) -> bytes:
    values = secret.cpu()
    whole = values.double().mul(GRAIN).round().long() if values.is_floating_point() else values.long()
    return whole.contiguous().numpy().tobytes()
