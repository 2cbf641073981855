"""The training script of an NVFlare client, as a user writes it: one local step on the private picture of the site."""

import nvflare.client as flare
import torch
from small import net, trained

flare.init()
site = int(flare.get_site_name().removeprefix("site-"))
while flare.is_running():
    received = flare.receive()
    model = net()
    model.load_state_dict({name: torch.as_tensor(value) for name, value in received.params.items()})
    trained(model, site)
    meta = {"NUM_STEPS_CURRENT_ROUND": 1, "num_examples": 1}
    flare.send(flare.FLModel(params=model.cpu().state_dict(), metrics={"loss": 0.5}, meta=meta))
