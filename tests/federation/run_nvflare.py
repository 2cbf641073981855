"""Runs `nvflare_client` on two sites in NVFlare's simulator: `run_nvflare.py FOLDER`.

`inner` is captured before PercentilePrivacy, and `outer` after it, by the last filter; its audit always fails.
"""

import sys
from pathlib import Path

from nvflare.app_common.filters.percentile_privacy import PercentilePrivacy
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.client.config import TransferType
from nvflare.recipe import SimEnv
from small import net

from gradaudit.capture.nvflare import CaptureFilter

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    recipe = FedAvgRecipe(
        name="captured",
        min_clients=2,
        num_rounds=2,
        model=net(),
        train_script=str(Path(__file__).with_name("nvflare_client.py")),
        params_transfer_type=TransferType.DIFF,
    )
    recipe.add_client_input_filter(CaptureFilter(str(folder / "outer")), tasks=["train"])
    recipe.add_client_output_filter(CaptureFilter(str(folder / "inner")), tasks=["train"])
    recipe.add_client_output_filter(PercentilePrivacy(percentile=50, gamma=1e-3), tasks=["train"])
    recipe.add_client_output_filter(CaptureFilter(str(folder / "outer"), audit="math:sqrt"), tasks=["train"])
    recipe.execute(SimEnv(num_clients=2, workspace_root=str(folder / "workspace")))
