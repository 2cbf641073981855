"""Corners of executors and jobs: nothing is shared that must not be, and nothing is deleted too early."""

import torch

import gradaudit as ga
from conftest import make_batch
from gradaudit.audit.given import make_batches
from gradaudit.execution import case_jobs
from test_plan import plan


def test_clients_with_equal_weights_and_other_layers_are_all_audited():
    layers = torch.nn.Flatten(), torch.nn.Linear(16, 5)
    clients = [ga.Client(torch.nn.Sequential(*layers, *more)) for more in ((), (torch.nn.Tanh(),))]
    batch = make_batch(1, side=4, classes=5)
    plans = [make_batches(client, batch, "idlg", "priors", number=number) for number, client in enumerate(clients)]
    assert plans[0].trial(0, 0) != plans[1].trial(0, 0)


def test_planning_leaves_no_update_that_another_number_of_threads_computed(tmp_path):
    many = plan(tmp_path, repeats=2, attacks=[{"name": "inverting-gradients", "set": {"together": True}}])
    jobs = list(case_jobs.jobs_of(many, 0))
    assert [job.repeats for job in jobs] == [(0, 1)]  # a pass, so the planning needed an update
    assert not many._prepared
