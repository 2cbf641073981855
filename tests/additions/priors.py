"""Brightness as a prior."""

from dataclasses import dataclass

from gradaudit.inversion.parts.priors import Prior


@dataclass(frozen=True)
class Brightness(Prior):
    """The squared mean of all values."""

    def __call__(self, inputs, at):
        return inputs.mean() ** 2
