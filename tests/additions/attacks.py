"""The input of a linear layer with a bias, by division of its gradients (Phong et al., 2018): no search."""

from dataclasses import dataclass
from typing import ClassVar

from gradaudit import Knowledge, Observation, Reconstruction
from gradaudit.attacks import Demonstration
from gradaudit.inversion.run.refusal import require_fit


@dataclass(frozen=True)
class Division:
    """x = grad_W[k] / grad_b[k] for the class k with the largest gradient of its bias.

    Args:
        name: In the table of attacks.
        paper: Where it is described.
        deviations: None.
    """

    name: str = "division"
    paper: str = "doi:10.1109/TIFS.2017.2787987"
    deviations: tuple[str, ...] = ()
    needs: ClassVar[Knowledge] = Knowledge.BATCH_SIZE

    def __call__(self, seen: Observation, *, seed=0, watch=None) -> Reconstruction:
        """Return the input."""
        require_fit(self, seen.knowledge, seen.modality)
        weight, bias = seen.update.values
        row = int(bias.abs().argmax())
        inputs = (weight[row] / bias[row]).view(1, *seen.input_shape)
        return Reconstruction(seen.normalisation.invert(inputs), bias.argmin().view(1), 0.0)


ATTACK = Division()

DEMONSTRATION = Demonstration(ATTACK, seeded=False)
