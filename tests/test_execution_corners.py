"""Corners of executors and jobs: nothing is shared that must not be, and nothing is deleted too early."""

import torch

import gradaudit as ga
from conftest import make_batch
from gradaudit.audit.given import make_batches


def test_clients_with_equal_weights_and_other_layers_are_all_audited():
    layers = torch.nn.Flatten(), torch.nn.Linear(16, 5)
    clients = [ga.Client(torch.nn.Sequential(*layers, *more)) for more in ((), (torch.nn.Tanh(),))]
    batch = make_batch(1, side=4, classes=5)
    plans = [make_batches(client, batch, "idlg", "priors", number=number) for number, client in enumerate(clients)]
    assert plans[0].trial(0, 0) != plans[1].trial(0, 0)
