"""A machine that tries to break the command: mutated files, options and user code, in this process, counted by target.

`python -m benchmarks.fuzz --minutes 10 --seed 1` says what it found; CONTRIBUTING.md says what to do with that.
"""
