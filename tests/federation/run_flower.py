"""Runs `flower_app` in Flower's simulation, with a Ray of its own and two clients."""

from flower_app import client_app, server_app
from flwr.simulation import run_simulation

INIT = {"address": "local", "num_cpus": 2, "include_dashboard": False}
BACKEND = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": INIT}

if __name__ == "__main__":
    run_simulation(server_app=server_app, client_app=client_app, num_supernodes=2, backend_config=BACKEND)
