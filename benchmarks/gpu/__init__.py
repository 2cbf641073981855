"""What the product does on a GPU: attacks, time of a step, memory, and parts of a study.

`python -m benchmarks.gpu --out DIR` writes `gpu.md` and `gpu.jsonl` after every row; `--device cpu --quick` tries it
in miniature.
"""
