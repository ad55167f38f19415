"""Where the truth is known: `python -m ltm_pyro.experiments.known`.

For each corpus of `data.synthetic` a small model is trained, by speaking first, and its bounds on
held-out documents stand beside their exact entropy, with the hidden code and without it, and beside
the decoder without latents, whose window does not reach what the code explains. What z knows of the
code is told by a linear reader of z, fitted on half of the documents and tried on the rest.

No document is read twice. A document has one thought of a few numbers, read by all layers. Where
the code is one of 16 the prior is a mixture of twice as many normals, and the KL is charged whole
from half of training on, so that codes which share a place may part; of a point of a plane, which
is normal itself, the prior is standard normal, and the KL whole from the first iteration on, for
without it points are spread as no normal is. `--prior` names one for all.
"""

import argparse
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ltm_pyro.bounds import certify, evaluate, paired_difference, taxes
from ltm_pyro.config import Config, Fast, Named, Objective, Slow, Thoughts, Training
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.synthetic import KNOWN, Known
from ltm_pyro.experiments.base import RACE
from ltm_pyro.files import write_json
from ltm_pyro.guides import MeanField, NoGuide
from ltm_pyro.inference import DualRateSVI
from ltm_pyro.inference.posterior import infer
from ltm_pyro.inference.speaking import SpeakThenThink
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel
from ltm_pyro.seeds import seeded

TOKENS, PLACES = 64, 32


def _small(dim: int = 4, rate: float = 5e-3, **decoder: int) -> Config:
    return RACE.replace(
        architecture=dataclasses.replace(RACE.architecture, **decoder),
        thoughts=Thoughts(1, 1, dim),
        fast=Fast.quick(),
        slow=Slow(lr=rate, warmup=100),
        objective=Objective(start=0.0, warmup=0.5),
        training=Training(batch=64),
    )


CONFIGS = {
    "topics": _small(layers=1),
    "planes": _small(dim=2, layers=1).replace(
        objective=Objective(), fast=Fast.quick(8).changed(particles=4)
    ),
    "templates": _small(rate=1e-2).replace(
        fast=Fast.quick(8).changed(particles=2, antithetic=True)
    ),
    "ciphers": _small(width=128, feedforward=344),
}
"""One layer where no word tells of the next; the widest learns 16 ciphers of 32 words by heart.

A document tells where in the plane it is so closely that four steps of one draw miss the place; of
templates eight steps of a pair end nearer too. On topics more steps and draws ended higher.
"""


@dataclass(frozen=True)
class Setup:
    """How much is trained and scored.

    Held-out documents are fitted by `steps` natural-gradient steps of `particles` draws each: by
    one draw some end at another code's place. Without a `prior` it is the one that is like the
    code, and without `thinking`, fast steps and draws a step of training, they are the corpus's.
    """

    iterations: int = 1000
    steps: int = 32
    particles: int = 8
    speak: float = 0.1
    documents: int = 256
    certified: int = 0
    prior: Named | None = None
    thinking: tuple[int, int] | None = None


def corpus(name: str, documents: int, seed: int) -> Known:
    """One of `KNOWN`, of the usual length."""
    make: Any = KNOWN[name]  # a template has a length of its own
    found: Known = make(documents, **({} if name == "templates" else {"tokens": TOKENS}), seed=seed)
    return found


def texts(name: str, setup: Setup, seed: int) -> tuple[Rows, Known]:
    """As many documents as are trained on, each once, and others to score."""
    count = setup.iterations * CONFIGS[name].training.batch
    return corpus(name, count, 1000 + seed).rows, corpus(name, setup.documents, seed)


def known(name: str, setup: Setup, seed: int = 0) -> dict[str, Any]:
    """Exact entropies, bounds, certificate, control, and what z knows of the code; plain types."""
    train, test = texts(name, setup, seed)
    config, fast = CONFIGS[name], CONFIGS[name].fast
    if setup.thinking is not None:
        fast = fast.changed(*setup.thinking)
    batch, length = config.training.batch, train.tokens.shape[1]
    config = config.replace(
        architecture=dataclasses.replace(config.architecture, length=length),
        prior=setup.prior or like(test.code),
    )
    with seeded(seed):
        model, control = LatentThoughtModel(config), AutoregressiveModel(config)
    SpeakThenThink(
        model, MeanField, fast, config.slow, config.objective, seed=seed, speak=setup.speak
    ).fit(train, setup.iterations, batch, progress=False)
    DualRateSVI(control, NoGuide, slow=config.slow, seed=seed).fit(
        train, setup.iterations, batch, progress=False
    )
    longer = fast.changed(setup.steps, setup.particles)
    once = longer.changed(particles=1)  # more documents pass the gate so
    report = evaluate(
        model, test.rows, ("elbo:16", "iwae:64", "prior:16"), guide=MeanField, fast=longer,
        baseline=control, seed=seed, repeat=0, progress=False,
    )  # fmt: skip
    exact, tokens = test.nats.numpy(), report["elbo"].tokens
    gaps = {}
    for bound in ("elbo", "iwae", "baseline"):
        truth = dataclasses.replace(report[bound], name="exact", nats=exact)
        gaps[bound] = paired_difference(report[bound], truth)
    z = infer(model, test.rows, MeanField, longer, seed).sample(1)[0].flatten(1)
    found = {
        "corpus": name,
        "seed": seed,
        "iterations": setup.iterations,
        "prior": config.prior.name,
        "thinking": [fast.steps, fast.particles],
        "in_pairs": fast.antithetic,
        "exact": float(exact.sum() / tokens.sum()),
        "exact_given_code": test.nats_per_token_given_code,
        "nats_per_token": {n: f.nats_per_token for n, f in report.figures.items()},
        "above_exact": {n: {"nats": gap, "standard_error": e} for n, (gap, e) in gaps.items()},
        "above_exact_share": {n: gap / test.nats_per_token for n, (gap, _) in gaps.items()},
        "tax": {n: tax.to_dict() for n, tax in taxes(report).items()},
        "code": recovered(z, test.code),
    }
    if setup.certified:
        some = test.rows[: setup.certified]
        enclosed = certify(
            model, some, guide=MeanField, fast=once, seed=seed,
            chains=256, temperatures=64, simulated=16,
        ).to_dict()  # fmt: skip
        del enclosed["documents"]
        found["certificate"] = {
            "exact_nats_per_token": float(exact[: setup.certified].sum()) / some.token_count,
            "exact_of_certified": exact_of(enclosed["per_document"], exact),
            **enclosed,
        }
    return found


def exact_of(documents: list[dict[str, Any]], exact: Any) -> float | None:
    """The exact entropy of those that are certified, nats per token."""
    here = [n for n, document in enumerate(documents) if document["certified"]]
    tokens = sum(documents[n]["tokens"] for n in here)
    return float(exact[here].sum()) / tokens if here else None


def like(code: Tensor) -> Named:
    """The prior that is like a code: more places than it has values, or the normal plane's own."""
    if code.dtype.is_floating_point:
        return Named("standard-normal")
    return Named("mixture", {"components": PLACES, "spread": 0.9})


def recovered(z: Tensor, code: Tensor) -> dict[str, float]:
    """What a linear reader finds of a code in thoughts (documents, dimensions), on held-out ones.

    `information` is a lower bound on the mutual information of code and z, in nats (Barber &
    Agakov 2003): the code's entropy less what it costs the reader; `accuracy` the share of codes
    that it names, or, of points, the share of their variance that it explains.
    """
    half = len(z) // 2
    z = ((z - z.mean(0)) / z.std(0).clamp(min=1e-6)).double()
    z = torch.cat([z, torch.ones(len(z), 1, dtype=z.dtype)], 1)
    if code.dtype.is_floating_point:
        return _points(z, code.double(), half)
    classes = int(code.max()) + 1
    weights = torch.zeros(z.shape[1], classes, dtype=z.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        cost = torch.nn.functional.cross_entropy(z[:half] @ weights, code[:half])
        total: Tensor = cost + 1e-2 * weights.square().sum() / half
        total.backward()
        return total

    optimizer.step(loss)
    with torch.no_grad():
        scores = z[half:] @ weights
        cost = float(torch.nn.functional.cross_entropy(scores, code[half:]))
        named = float((scores.argmax(1) == code[half:]).double().mean())
    return {
        "information": math.log(classes) - cost,
        "entropy": math.log(classes),
        "accuracy": named,
    }


def _points(z: Tensor, code: Tensor, half: int) -> dict[str, float]:
    """The same for points of N(0, I), read with Gaussian errors."""
    read = torch.linalg.lstsq(z[:half], code[:half]).solution
    left = code - z @ read
    variance = left[:half].var(0)
    cost = 0.5 * ((2 * math.pi * variance).log() + left[half:].square() / variance).sum(1).mean()
    entropy = code.shape[1] * 0.5 * math.log(2 * math.pi * math.e)
    explained = 1 - left[half:].square().mean() / code[half:].var(0).mean()
    return {"information": entropy - float(cost), "accuracy": float(explained)}


def line(found: dict[str, Any]) -> str:
    """A row of a Markdown table."""
    nats, above, code = found["nats_per_token"], found["above_exact"], found["code"]
    gaps = " | ".join(
        f"{nats[n]:.4f} ({above[n]['nats']:+.4f} ± {above[n]['standard_error']:.4f})"
        for n in ("elbo", "iwae", "baseline")
    )
    return (
        f"| {found['corpus']} | {found['exact_given_code']:.4f} | {found['exact']:.4f} | {gaps} | "
        f"{code['accuracy']:.2f} | {code['information']:.2f} |"
    )


TITLES = (
    "corpus", "exact, code known", "exact", "bound (above exact)", "iwae:64", "no latents",
    "code named", "nats of it in z",
)  # fmt: skip
HEAD = f"| {' | '.join(TITLES)} |\n{'|---' * len(TITLES)}|"


def main(arguments: Sequence[str] | None = None, setup: Setup | None = None) -> None:
    """Train, print and save."""
    parser = argparse.ArgumentParser("python -m ltm_pyro.experiments.known", description=__doc__)
    parser.add_argument("--of", nargs="*", default=list(KNOWN), choices=list(KNOWN))
    parser.add_argument("--iterations", type=int, default=Setup.iterations)
    parser.add_argument("--prior", help="the prior's name, of all (else the one like the code)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--particles", type=int, default=Setup.particles, help="draws a fast step")
    parser.add_argument(
        "--thinking", type=int, nargs=2, metavar=("STEPS", "DRAWS"),
        help="fast steps of training and draws a step, of all (else each corpus's own)",
    )  # fmt: skip
    parser.add_argument("--certified", type=int, default=0, help="documents to enclose (minutes)")
    parser.add_argument("--out", type=Path, help="a folder for known-CORPUS-SEED.json")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    prior = None if given.prior is None else Named(given.prior)
    setup = setup or Setup(
        given.iterations, particles=given.particles, certified=given.certified, prior=prior,
        thinking=None if given.thinking is None else tuple(given.thinking),
    )  # fmt: skip
    print(HEAD, flush=True)
    for seed in range(given.seeds):
        for name in given.of:
            found = known(name, setup, seed)
            print(line(found), flush=True)
            if given.out is not None:
                write_json(given.out / f"known-{name}-{seed}.json", found)


if __name__ == "__main__":
    main()
