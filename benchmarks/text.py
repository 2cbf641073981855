"""DLG, TAG and LAMP on sentences: `python -m benchmarks.text FOLDER [--sentences N] [--steps N] [--spread X]`.

FOLDER contains `cola_train.tsv`, `cola_dev.tsv` and `bert_base_uncased_vocab.txt`. Each update comes from one sentence
of the dev file and its own untrained tiny BERT. Labels are granted, and the training file is the public text. Each
attack runs with its published initialisation and learning rate, and again with LAMP's. Prints means and 95 % intervals.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import torch

import gradaudit as ga
from gradaudit import metrics
from gradaudit.attacks import dlg_text, lamp, tag
from gradaudit.data.sources.texts import Texts, TextSource
from gradaudit.inversion.parts.objectives import LayerwiseCosine
from gradaudit.inversion.run.gradient_matching import GradientMatching
from gradaudit.models import TEXT_MODELS
from gradaudit.values.types import Batch, Modality, Reconstruction

from .machine import described

SHORTEST, LONGEST = 7, 12  # tokens with [CLS] and [SEP]
PUBLIC = 4_000
FACTS = ga.Knowledge.BATCH_SIZE | ga.Knowledge.LABELS | ga.Knowledge.PUBLIC_DATA
SCORES = ("ROUGE-1", "ROUGE-2", "token accuracy", "exact", "seconds")


def attacks(steps: int) -> dict[str, GradientMatching]:
    """Return all variants: as published except for the steps, with LAMP's start, rate and decay, and parts of LAMP."""
    stage = lamp.ATTACK.stages[-1]
    found = {attack.name: attack for attack in (dlg_text.ATTACK, tag.ATTACK, lamp.ATTACK)}
    for attack in (dlg_text.ATTACK, tag.ATTACK):
        alike = replace(attack.stages[0], parametrisation=stage.parametrisation, optimiser=stage.optimiser)
        found[f"{attack.name}, LAMP's start and rate"] = replace(attack, stages=(alike,))
    found["lamp, biases of keys counted"] = replace(lamp.ATTACK, objective=LayerwiseCosine())
    found["lamp without reordering"] = replace(lamp.ATTACK, stages=(lamp.ATTACK.stages[0], replace(stage, moves=())))
    return {name: shortened(attack, steps) for name, attack in found.items()}


def shortened(attack: GradientMatching, steps: int) -> GradientMatching:
    """Return the attack with `steps` steps in its last stage."""
    return replace(attack, stages=(*attack.stages[:-1], replace(attack.stages[-1], steps=steps)))


def private(source: TextSource, index: int) -> Batch:
    """Return a batch of one sentence."""
    inputs, lengths = source.stack([index])
    assert source.labels is not None
    return Batch(inputs, source.labels[[index]], Modality.TEXT, lengths, source.vocabulary.layout)


def scores(source: TextSource, guess: torch.Tensor, batch: Batch) -> list[float]:
    """Return the scores of one sentence, without its opening and closing markers."""
    special = torch.tensor(source.vocabulary.layout.special)
    counted = ~torch.isin(batch.inputs, special)
    said, true = ("".join(source.vocabulary.pieces(ids[counted].tolist())) for ids in (guess, batch.inputs))
    rouge = metrics.rouge([said], [true])
    assert rouge is not None
    return [
        float(rouge["rouge1"]),
        float(rouge["rouge2"]),
        float(metrics.token_accuracy(guess, batch.inputs, counted)),
        float(metrics.exact_match(guess, batch.inputs, counted)),
    ]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sentences", type=int, default=10)
    parser.add_argument("--steps", type=int, default=600, help="steps of the last stage (published: 2 500 and 2 000)")
    parser.add_argument(
        "--spread", type=float, default=0.05, help="standard deviation of the network's initial weights"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    vocabulary = options.folder / "bert_base_uncased_vocab.txt"
    train, dev = (Texts(options.folder / f"cola_{part}.tsv", tokenizer=vocabulary).open() for part in ("train", "dev"))
    public, _ = train.stack(range(PUBLIC))
    fitting = [i for i, ids in enumerate(dev.ids) if SHORTEST <= len(ids) <= LONGEST]
    chosen = torch.randperm(len(fitting), generator=torch.Generator().manual_seed(0))[: options.sentences].tolist()
    print(f"{described()}; {options.sentences} sentences, {options.steps} steps, spread {options.spread}\n")
    rows: dict[str, list[list[float]]] = defaultdict(list)
    for seed, at in enumerate(chosen):
        batch = private(dev, fitting[at])
        torch.manual_seed(seed)
        network = TEXT_MODELS["tiny-bert"](2, spread=options.spread)
        seen = ga.Client(network).share(batch, FACTS, public=public)
        control = dev.common_except([fitting[at]], batch.inputs.shape[1])
        assert control is not None
        rows["control: the commonest tokens"].append([*scores(dev, control.unsqueeze(0), batch), 0.0])
        print(f"{seed}: {dev.texts[fitting[at]]}")
        for name, attack in attacks(options.steps).items():
            start = time.process_time()
            found: Reconstruction = attack(seen, seed=seed)
            rows[name].append([*scores(dev, found.inputs, batch), time.process_time() - start])
            said = "".join(dev.vocabulary.pieces(found.inputs[0, 1:-1].tolist()))
            print(f"   {name}: {said} ({found.objective:.3g})", flush=True)
    report(rows)


def report(rows: dict[str, list[list[float]]]) -> None:
    """Return the means, and paired differences of ROUGE-1."""
    print(f"\n| attack | {' | '.join(SCORES)} |\n|---|{'---|' * len(SCORES)}")
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(cell(column) for column in zip(*values, strict=True))} |")
    print("\n| paired difference | ROUGE-1 | ROUGE-2 | token accuracy |\n|---|---|---|---|")
    names = list(rows)[1:4]
    for suffix in ("", ", LAMP's start and rate"):
        for better, worse in ((names[2], names[1] + suffix), (names[1] + suffix, names[0] + suffix)):
            pairs = zip(rows[better], rows[worse], strict=True)
            gaps = [[a - b for a, b in zip(x, y, strict=True)] for x, y in pairs]
            columns = list(zip(*gaps, strict=True))[:3]
            print(f"| {better} - {worse} | {' | '.join(cell(column) for column in columns)} |")


def cell(values: tuple[float, ...]) -> str:
    """Return a mean with its interval."""
    interval = metrics.mean_interval(values)
    return f"{interval.mean:.2f} ({interval.low:.2f}, {interval.high:.2f})"


if __name__ == "__main__":
    main()
