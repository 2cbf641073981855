"""GradViT (Hatamizadeh et al., CVPR 2022): images from a vision transformer, by gradients first, then image priors."""

from ..inversion.parts.labels.column_minimum import ColumnMinimum
from ..inversion.parts.objectives.layerwise_euclidean import LayerwiseEuclidean
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.parametrisations.pixels import Pixels
from ..inversion.parts.part import Stage, Term
from ..inversion.parts.priors.l2 import L2
from ..inversion.parts.priors.patch_border import PatchBorder
from ..inversion.parts.priors.total_variation import TotalVariation
from ..inversion.run.gradient_matching import GradientMatching
from ._demonstration import Demonstration, shortened

ATTACK = GradientMatching(
    name="gradvit",
    paper="arXiv:2203.11894",
    objective=LayerwiseEuclidean(scale=1e-3),
    labels=ColumnMinimum(strict=False),
    stages=(
        Stage(
            Pixels(),
            Adam(lr=0.1, cosine=True),
            steps=120_000,
            terms=(
                Term(TotalVariation(), weight=1e-4, start=0.5),
                Term(L2(), weight=1e-6, start=0.5),
                Term(PatchBorder(), weight=1e-4, start=0.5),
            ),
        ),
    ),
    deviations=(
        "no auxiliary network: the paper's strongest image prior compares BatchNorm statistics within a ResNet-50 "
        "trained by MoCo v2 on ImageNet, which is not implemented; expect worse images than the paper's",
        "in the paper the gradients' weight falls while the priors are introduced; here all priors begin at half of "
        "the run, and no weight changes",
        "the authors published no code: weights are GradInversion's, that of the patch borders is total variation's",
        "no group of seeds and no registration",
        "labels by GradInversion's column minimum as in the paper, although a transformer's features have both signs, "
        "for which the rule is not guaranteed",
        "returns the iterate with the lowest objective, including the priors, of the second half of the run",
    ),
)

DEMONSTRATION = Demonstration(shortened(ATTACK, 200))
