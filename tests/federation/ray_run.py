"""A process of test_ray_cluster.py: a cluster of two nodes, one of which dies in the middle of a run."""

import json
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

import gradaudit as ga
from conftest import linear_net, make_batch
from gradaudit.execution.executors.ray_cluster import RayCluster
from test_executors import Notes, run
from toy_jobs import Folder, Meeting, Raising, Square

SOON = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}  # a dead node is noticed in 3 s, not 15
NODE = {"num_cpus": 1, "include_dashboard": False, "_system_config": SOON}


def main(folder):
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    second = cluster.add_node(num_cpus=1)

    class Killer(Notes):
        """Removes the second node once both have returned something, however late it began."""

        by, dead = set(), False

        def end(self, result, number, total):
            super().end(result, number, total)
            self.by.add(result["by"])
            if number >= 3 and len(self.by) > 1 and not self.dead:
                self.dead = True
                cluster.remove_node(second, allow_graceful=False)

    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    folder.mkdir()
    met = [Meeting(number, folder=folder) for number in range(2)]
    jobs = [Raising(99), *met, *(Square(number, 0.3) for number in range(2, 16))]
    _, notes = run(folder, jobs, RayCluster(), notes=Killer())
    client = ga.Client(linear_net(pixels=16), defenses=[ga.defenses.GaussianNoise(1e-3)])
    batches = [make_batch(2, side=4, classes=5, seed=seed) for seed in range(2)]
    found = [ga.run(client, batches, ["idlg", "april"], "priors", executor=name) for name in ("serial", "ray")]
    ours, theirs = ([{**finding.to_json(), "seconds": 0} for finding in one.findings] for one in found)
    ray.shutdown()
    cluster.shutdown()
    document = {
        "squares": Folder(folder).squares,
        "failed": notes.failed,
        "workers": len({result["by"] for result in Folder(folder).journal.results.values()}),
        "numbers": [number for _, number, _ in notes.ended],
        "equal": ours == theirs and len(ours) == 4,
    }
    Path(sys.argv[2]).write_text(json.dumps(document))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
