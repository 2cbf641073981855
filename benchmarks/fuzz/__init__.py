"""A fuzzer of the command line: mutated files, options and user code, run in one process and counted by target.

`python -m benchmarks.fuzz --minutes 10 --seed 1` prints what it found; CONTRIBUTING.md explains what to do with it.
"""
