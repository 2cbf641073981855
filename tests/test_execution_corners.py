"""Corners of executors and jobs: nothing is shared that must not be, and nothing is deleted too early."""

import pickle
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gradaudit as ga
from conftest import make_batch
from gradaudit.audit.config import make_config
from gradaudit.audit.given import make_batches
from gradaudit.audit.plan import make_plan
from gradaudit.audit.shelf import Shelf
from gradaudit.client import participant
from gradaudit.commands.progress import SHOWN
from gradaudit.execution import case_jobs, make_executor
from gradaudit.execution.executors import process_pool, ray_cluster
from gradaudit.execution.executors.serial import Serial
from gradaudit.execution.trial import Site
from gradaudit.studies._trials import _plain
from gradaudit.values.errors import AuditError
from test_executors import run
from test_plan import CONFIG, plan
from test_progress import listening
from toy_jobs import Base, Raising, Square, Unopened


def test_clients_with_equal_weights_and_other_layers_are_all_audited():
    layers = torch.nn.Flatten(), torch.nn.Linear(16, 5)
    clients = [ga.Client(torch.nn.Sequential(*layers, *more)) for more in ((), (torch.nn.Tanh(),))]
    batch = make_batch(1, side=4, classes=5)
    plans = [make_batches(client, batch, "idlg", "priors", number=number) for number, client in enumerate(clients)]
    assert plans[0].trial(0, 0) != plans[1].trial(0, 0)


def test_every_update_is_computed_on_the_threads_of_the_executor(tmp_path, monkeypatch):
    """The planning of passes computes an update, too."""
    seen, train = [], participant._trained
    monkeypatch.setattr(participant, "_trained", lambda *a: seen.append(torch.get_num_threads()) or train(*a))
    many = plan(tmp_path, repeats=2, attacks=[{"name": "inverting-gradients", "set": {"stages.0.steps": 2}}])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        results = case_jobs.Results(tmp_path / "run", case_jobs.describe_run([many], "t"))
        case_jobs.run([many], results, case_jobs.Listener(), executor=case_jobs.Serial(threads=1))
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1]


def test_the_shelf_tells_folders_apart(tmp_path):
    config = make_config({**CONFIG, "data": {"source": "npz", "path": "data.npz", "batch_size": 2}})
    shelf, found = Shelf(), []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        images = np.full((4, 16, 16, 3), number / 2, dtype=np.float32)
        np.savez(folder / "data.npz", images=images + np.linspace(0, 0.1, 4)[:, None, None, None], labels=np.arange(4))
        found.append(make_plan(config, folder, shelf=shelf).data_sha256)
    assert found[0] != found[1]


def test_checkpoints_of_other_jobs_in_the_folder_stay(tmp_path):
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    mine, other = Square(0), Square(1)
    for job in (mine, other):
        (unfinished / f"{job.checkpoint}-0.pt").touch()
    run(tmp_path, [mine, other], Serial(), shard=(1, 2))
    assert [path.name for path in unfinished.iterdir()] == [f"{other.checkpoint}-0.pt"]
    (unfinished / f"{mine.checkpoint}-0.pt").touch()  # killed between the result and the deletion
    run(tmp_path, [mine, other], Serial())
    assert not unfinished.exists()


def test_an_error_that_stops_a_run_carries_its_traceback(tmp_path):
    with pytest.raises(AuditError) as caught:
        run(tmp_path, [Raising(9)], Serial(), stop_on_error=True)
    assert "in run" in "".join(caught.value.__notes__)


def test_a_client_that_cannot_share_one_update_of_a_pass_fails_alone(monkeypatch):
    def refuse():
        raise AuditError("it is not finite.")

    def case(position, repeat, *, kept):
        return SimpleNamespace(trial=f"t{repeat}", repeat=repeat, observe=refuse if repeat == 1 else lambda: None)

    monkeypatch.setattr(case_jobs, "audit_together", lambda cases, *_: [one.repeat for one in cases])
    monkeypatch.setattr(case_jobs, "with_files", lambda number: (SimpleNamespace(to_json=lambda: {"n": number}), {}))
    job = case_jobs.CaseJob(0, 0, (0, 1, 2), ("t0", "t1", "t2"), "c", 3, "dlg", "no defense")
    found = {one.trial: one for one in job.run(SimpleNamespace(case=case), None, None)}
    assert {trial: one.result and one.result["n"] for trial, one in found.items()} == {"t0": 0, "t1": None, "t2": 2}
    assert (found["t1"].title, found["t1"].error) == ("dlg · no defense · batch 2", "it is not finite.")
    assert job.title == "dlg · no defense · batches 1 to 3"


def test_a_job_of_a_sweep_names_its_cell(tmp_path):
    cell = replace(plan(tmp_path, attacks=["idlg"]), grid={"data.batch_size": 2})
    assert [job.title for job in case_jobs.jobs_of(cell, 0)] == ["idlg · data.batch_size=2 · batch 1"]


def test_a_second_ctrl_c_leaves_no_process(tmp_path):
    killed = []

    class Worker(SimpleNamespace):
        def kill(self):
            killed.append(self.name)

        def end(self):
            raise KeyboardInterrupt

    crew = process_pool._Crew([], Site(tmp_path), 1, None)
    crew.idle, crew.busy = [Worker(name="idle")], {0: (Worker(name="busy"), None)}
    with pytest.raises(KeyboardInterrupt):
        crew.end()
    assert killed == ["idle", "busy"]


@pytest.mark.skipif(not process_pool.SERVED, reason="the system has no server of processes")
def test_ctrl_c_counts_while_the_first_process_starts(tmp_path, monkeypatch):
    heard = []
    monkeypatch.setattr(
        process_pool.forkserver, "ensure_running", lambda: heard.append(signal.getsignal(signal.SIGINT))
    )
    worker = process_pool._Worker(Site(tmp_path), 1)
    monkeypatch.setattr(worker.process, "start", lambda: heard.append(signal.getsignal(signal.SIGINT)))
    worker.begin()
    worker.end()
    assert heard == [signal.SIG_IGN, signal.getsignal(signal.SIGINT)]


def test_more_jobs_than_bars_all_get_one_in_time():
    _, listener = listening(force_terminal=True)
    with listener:
        for number in range(SHOWN + 3):
            listener.begin(Square(number), 1, 99)
        for number in range(SHOWN):
            listener.finish(Square(number))
        assert [task.visible for task in listener.running.tasks] == [True] * 3


def test_a_cluster_elsewhere_has_cores_of_its_own():
    assert make_executor(None, None, address="10.0.0.1:6379", usual=2).workers is None
    assert make_executor(None, 5, address="10.0.0.1:6379", usual=2).workers == 5
    assert make_executor("ray", None, usual=2).workers == 2


BOARD = SimpleNamespace(write=SimpleNamespace(remote=lambda *_: None))


def test_a_node_opens_a_setting_once_and_says_why_it_cannot(tmp_path):
    def perform(job, setting, folder=tmp_path):
        return ray_cluster.perform(job, pickle.dumps(setting), Site(folder), torch.get_num_threads(), BOARD)[0][0]

    assert [perform(Square(number), Base(tmp_path)).result["square"] for number in (1, 2)] == [121, 144]
    assert len((tmp_path / "opened").read_text().split()) == 1
    assert perform(Square(1), Unopened(tmp_path), tmp_path / "other").error == "OSError: no such model."
    assert list(ray_cluster._SETTINGS) == [str(Site(tmp_path / "other"))]  # those of an earlier run are closed


def test_ray_does_not_take_sigterm():
    before = signal.getsignal(signal.SIGTERM)
    with ray_cluster._sigterm_kept():
        signal.signal(signal.SIGTERM, lambda *_: None)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_measurement_is_a_plain_number():
    assert type(_plain(np.float32(0.5))) is float
    assert _plain(float("nan")) is None
