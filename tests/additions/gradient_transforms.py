"""Half of a gradient."""

from dataclasses import dataclass

from gradaudit.inversion.parts.gradient_transforms import GradientTransform


@dataclass(frozen=True)
class Halved(GradientTransform):
    """Every entry becomes half of it."""

    def __call__(self, gradient, at):
        return gradient / 2
