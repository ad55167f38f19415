"""Left-to-right scores: no token helps to infer the thoughts that score it."""

import torch

from ltm_pyro.bounds.estimate import Estimate, Task, figure
from ltm_pyro.bounds.importance import log_mean_exp
from ltm_pyro.inference.posterior import infer, pieces
from ltm_pyro.programs.densities import Program, draw_latents, prior_of, token_log_prob
from ltm_pyro.programs.reading import Sites
from ltm_pyro.seeds import Noise, Stream, derive

DRAWS = 16
FIRST = 64
"""Draws for the first block: nothing precedes it, so all rows share them and they need no fit."""


@figure
def predictive(task: Task, block: int = 16) -> Estimate:
    """-sum over blocks of log (1/S) sum_s p(block | prefix, z_s), z_s ~ q(z | prefix).

    The guide of a block is fitted to the tokens before it alone, from nothing for the first, so
    each factor is a probability distribution over what comes next and the whole a code length of
    the document (prequential, Dawid 1984). Fits and draws of a block follow from the seed and the
    tokens before it, so that is true of every number printed and not of its mean alone: its
    exp(-nats), summed over all texts, is 1. Smaller blocks know more and cost more fits. By
    Jensen's inequality S draws overstate it. It bounds the -log p of this predictor, which is not
    the model's own marginal unless the guides are exact.
    """
    rows = task.rows
    nats = torch.zeros(len(rows), device=rows.lengths.device)
    variance = torch.zeros_like(nats)
    shared = torch.zeros(0)
    for number, start in enumerate(range(0, int(rows.lengths.max()), block)):
        there = (rows.lengths > start).nonzero()[:, 0]
        part = rows[there]
        prefix = part.first(start).keyed_by_text()
        seed = derive(task.seed, Stream.PREDICTIVE, number)
        program: Program = prior_of(task.model)
        if start:
            fitted = infer(task.model, prefix, task.guide, task.fast, seed, len(prefix))
            program = fitted.chunks[0][0]
        seen, scores = part.first(start + block), []
        # What a prior draws, by rejection say, need not be one document's own: it is drawn for one.
        drawn = prefix if start or prefix.columns else prefix[:1]
        noise = Noise(derive(seed, Stream.DRAW), drawn.key)
        for draws in pieces(DRAWS if start else FIRST):
            with torch.no_grad(), noise.draw():
                latents = {
                    site: z.expand(-1, len(part), *z.shape[2:])
                    for site, z in draw_latents(program, drawn, draws).items()
                }
                scores.append(token_log_prob(task.model, latents, seen)[..., start:].sum(-1))
        log_p = torch.cat(scores)
        mean, its_variance = log_mean_exp(log_p)
        nats[there] -= mean
        assert its_variance is not None  # there are several draws
        variance[there] += its_variance
        if not start:
            shared = log_p
    protocol = (
        f"bound (predictive): blocks of {block}, {task.how} on the prefix alone, "
        f"{DRAWS} fresh draws ({FIRST} for the first block, the same for all rows)"
    )
    others = [s for s in Sites.of(task.model, rows).of_kind("observed") if s != "tokens"]
    if others:  # which the guides have seen
        protocol += f"; of tokens given {', '.join(others)}"
    return Estimate(
        nats, protocol, DRAWS, variance, holds_prior_density=False, shared_weights=shared,
        observed=("tokens",),
    )  # fmt: skip
