"""The whole job on the embedded corpus: train, score, sample, plot."""

import dataclasses
from pathlib import Path

from tqdm import tqdm

from ltm_pyro.bounds import Report, evaluate, taxes
from ltm_pyro.data import Rows, load_corpus
from ltm_pyro.diagnostics import plot_gains, plot_inner_loop, plot_training
from ltm_pyro.display.pictures import new_figure, png
from ltm_pyro.errors import InputError
from ltm_pyro.files import write
from ltm_pyro.generation import Sampling, generate
from ltm_pyro.inference.posterior import infer
from ltm_pyro.presets import preset, quick_protocol
from ltm_pyro.runs import folder
from ltm_pyro.runs.checkpoint import Run
from ltm_pyro.runs.record import read_config
from ltm_pyro.runs.training import train

DEMO = "demo"
"""What marks a demo in the record of its run."""
LENGTH = 128
"""Tokens of a row: half as many hold too little of a document for its thoughts to pay."""
STEPS = 400
PROMPT = "Return a new list"
MEANT = (
    "Below zero thoughts earn, beside a decoder that has seen as little text and still learns. "
    "What is left once that has come to rest: docs/results/tax.md"
)
THINKING = 4
"""Test documents get this many times the fast steps of training."""


def demo(out: Path, steps: int | None = None, seed: int = 0) -> Report:
    """Train the `tiny` preset beside its baseline, and print what came of it, last the tax.

    Raises:
        InputError: if the folder holds a run that is not a demo.
    """
    check_is_demo(out)
    corpus = load_corpus(length=LENGTH)
    print(f"Text: {corpus}\n")
    config = quick_protocol(preset("tiny", corpus))
    training = dataclasses.replace(
        config.training, seed=seed, baseline=True, steps=STEPS if steps is None else steps
    )
    run = train(
        config.replace(training=training),
        out,
        corpus,
        overwrite=True,
        note=tqdm.write,
        about={DEMO: True},
    )
    if run.stopped:
        raise KeyboardInterrupt(run.stopped)

    print("\nHeld-out test documents, every figure a valid bound or exact:\n")
    longer = dataclasses.replace(config.fast, steps=THINKING * config.fast.steps)
    report = evaluate(
        run.model,
        corpus.test,
        ("elbo:8", "prior:8"),
        fast=longer,
        guide=run.guide,
        baseline=run.baseline,
        seed=seed,
    )
    print(report)
    gain, error = report.difference("prior", "elbo")
    print(
        f"what inferring the thoughts earns: {gain:+.4f} ± {error:.4f} nats/token (prior - elbo, "
        "paired)"
    )

    print("\nThree texts, thoughts drawn from the prior:\n")
    nucleus = Sampling(top_p=0.95)
    print(generate(run.model, run.tokenizer, n=3, length=60, sampling=nucleus, seed=seed))
    print(f"\nGoing on from {PROMPT!r}, thoughts fitted to it:\n")
    print(generate(run.model, run.tokenizer, PROMPT, length=60, sampling=nucleus, seed=seed))
    plots = draw(run, corpus.test[:64], seed)
    print(f"\nPlots: {plots}\nCheckpoint: {run.path} (try: ltm generate {run.path} --n 3)")
    print(f"\n{taxes(report)['elbo']}\n{MEANT}")
    return report


def check_is_demo(out: Path) -> None:
    """Raises InputError if a folder holds a run, or what is left of one, that is not a demo."""
    if folder.holds_run(out):
        try:
            _, record = read_config(out)
        except InputError:
            record = {}
        if not record.get(DEMO):
            raise InputError(
                f"{out} holds a run that is not a demo, and ltm demo replaces only a demo: give "
                "another --out"
            )


def draw(run: Run, rows: Rows, seed: int) -> Path:
    """Training, what thoughts gain, and the fast loop, in one picture in the run's folder."""
    log = run.log()
    figure = new_figure(16, 4)
    training, gains, loop = figure.subplots(1, 3)
    plot_training(log, training)
    plot_gains(log, gains)
    fast = dataclasses.replace(run.config.fast, steps=THINKING * run.config.fast.steps)
    posterior = infer(run.model, rows, run.guide, fast, seed)
    plot_inner_loop(posterior.inner, loop, posterior.rows.lengths)
    path = run.path / "training.png"
    write(path, png(figure))
    return path
