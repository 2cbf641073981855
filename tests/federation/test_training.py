"""Flower's simulation trains the same federation as the own engine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_flower_gives_the_same_accuracy_and_bits():
    """In every round, with BatchNorm, clients of different sizes, and a defense that remembers earlier rounds."""
    words = [sys.executable, str(Path(__file__).with_name("run_training.py"))]
    done = subprocess.run(words, env={**os.environ}, timeout=600, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    own, flower = json.loads(done.stdout.strip().splitlines()[-1])
    assert [score[0] for score in own] == [score[0] for score in flower] == [0, 1, 2, 3, 4]
    assert own[-1][1] > own[0][1] + 0.1
    assert [score[1] for score in flower] == pytest.approx([score[1] for score in own], abs=0.021)  # one of 50
    assert [score[2] for score in flower] == pytest.approx([score[2] for score in own], rel=0.01)
