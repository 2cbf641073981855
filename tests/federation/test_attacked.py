"""From a client of a real framework to its picture: the capture is read back and attacked."""

from dataclasses import replace

import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod
from small import RATE, SIDE, plain, private, trained

import gradaudit as ga
from gradaudit.capture import Settings, capture
from gradaudit.capture.flower import audit_mod
from gradaudit.capture.flower_client import run_client_once

SETTINGS = Settings(batch_size=1, learning_rate=RATE, input_shape=(1, SIDE, SIDE))
ATTACK = replace(ga.attacks.IDLG, stages=(replace(ga.attacks.IDLG.stages[0], steps=150),))


def captured(folder, *mods):
    """Return the capture of one client, as its outermost mod wrote it, with the global weights."""
    app = ClientApp()

    @app.train(mods=[audit_mod(folder), *mods])
    def train(message, context):
        model = plain()
        model.load_state_dict(message.content["arrays"].to_torch_state_dict())
        content = {"arrays": ArrayRecord(trained(model, 1).state_dict()), "metrics": MetricRecord({"num-examples": 1})}
        return Message(RecordDict(content), reply_to=message)

    run_client_once(app, plain().state_dict())
    return capture(plain(), folder / "round-1-node-1.safetensors", SETTINGS)


def gain(found):
    """Return the PSNR of the attack over that of the control, the mean of other pictures, in dB."""
    x, _ = private(1)
    control = torch.cat([private(client)[0] for client in range(2, 12)]).mean(0, keepdim=True)
    guess = ATTACK(found.observation, seed=0).inputs
    return float(ga.metrics.psnr(guess.clamp(0, 1), x).mean() - ga.metrics.psnr(control, x).mean())


def test_the_picture_comes_back_from_a_captured_update(tmp_path):
    found = captured(tmp_path)
    assert found.holds == "weights"
    assert gain(found) > 6


def test_it_does_not_from_a_noised_one(tmp_path):
    found = captured(tmp_path, LocalDpMod(clipping_norm=1.0, sensitivity=0.1, epsilon=1.0, delta=1e-5))
    assert gain(found) < 1
