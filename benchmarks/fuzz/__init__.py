"""A fuzzer of the command line: mutated files, options and user code, run in one process and counted by target.

`python -m benchmarks.fuzz --minutes 10 --seed 1` prints the faults; CONTRIBUTING.md says what to do with them.
"""
