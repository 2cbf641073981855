"""CI-Net (Zhang et al., ICCV 2023): optimise the weights of an over-parameterised network that generates the batch."""

from ..inversion.parts.gradient_transforms.sign import Sign
from ..inversion.parts.labels.known import KnownLabels
from ..inversion.parts.objectives.cosine import Cosine
from ..inversion.parts.optimisers.adam import Adam
from ..inversion.parts.parametrisations.untrained_network import UntrainedNetwork
from ..inversion.parts.part import Stage
from ..inversion.run.gradient_matching import GradientMatching
from ._demonstration import Demonstration, shortened

ATTACK = GradientMatching(
    name="ci-net",
    paper="Zhang et al., ICCV 2023, pages 5126-5135",
    objective=Cosine(),
    labels=KnownLabels(),
    stages=(Stage(UntrainedNetwork(), Adam(lr=1e-3), steps=5_000, gradient=(Sign(),)),),
    deviations=(
        "attacks the network as it is; the authors' notebook replaces every ReLU of the attacked network by a sigmoid, "
        "which makes it easier to invert",
        "returns the iterate with the lowest objective; the authors' notebook keeps the one with the highest SSIM to "
        "the private images, which no adversary can compute",
        "no spectral normalisation: the BatchNorm layer after each convolution cancels every scale of its weights",
        "the first feature map is 4 x 4 only if a power of two times 4 gives the side of the images; other sides start "
        "from the least first map of at least 4 whose doublings give or exceed them",
        "5 000 steps, the authors' default; they use 2 000 on CIFAR images",
    ),
)

DEMONSTRATION = Demonstration(shortened(ATTACK, 60), least=10.0)
