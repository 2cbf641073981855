"""Seeds from seeds: every use of chance has its own, and none leads back to another."""

from __future__ import annotations

import hashlib

from torch import Tensor

GRAIN = 1e4  # steps per unit in which a tensor enters: equal on every processor, whatever its rounding


def child_seed(seed: int, purpose: str, *secrets: Tensor | str) -> int:
    """The seed, in [0, 2**56), of one use of `seed`.

    It is a hash: an adversary that holds one child, guesses `seed` and knows every purpose still draws none of the
    numbers of a use whose secrets it does not know, such as the client's own batch.

    Args:
        seed: Of the run, or the child of one.
        purpose: Names the use.
        secrets: What the client or the audit alone knows; a tensor is taken to a ten-thousandth.
    """
    digest = hashlib.blake2b(f"{purpose} of {seed}".encode(), digest_size=7)
    for secret in secrets:
        digest.update(secret.encode() if isinstance(secret, str) else _rounded(secret))
    return int.from_bytes(digest.digest(), "big")


def _rounded(secret: Tensor) -> bytes:
    values = secret.cpu()
    whole = values.double().mul(GRAIN).round().long() if values.is_floating_point() else values.long()
    return whole.contiguous().numpy().tobytes()
