"""A description of the machine, without its name."""

from __future__ import annotations

import os
import platform

import torch


def described() -> str:
    """Return processor, cores, torch version and threads."""
    capability = torch.backends.cpu.get_cpu_capability()
    cores = os.cpu_count()
    return (
        f"{platform.machine()} {capability}, {cores} cores, torch {torch.__version__}, {torch.get_num_threads()} thread"
    )
