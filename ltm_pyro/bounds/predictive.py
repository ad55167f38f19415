"""Left-to-right scores: no token helps to infer the thoughts that score it."""

import torch

from ltm_pyro.bounds.estimate import Estimate, Task, figure
from ltm_pyro.bounds.importance import log_mean_exp
from ltm_pyro.inference.posterior import infer
from ltm_pyro.programs.densities import Program, draw_latents, prior_of, token_log_prob
from ltm_pyro.programs.reading import Sites
from ltm_pyro.seeds import Noise, Stream, derive

DRAWS = 16


@figure
def predictive(task: Task, block: int = 16) -> Estimate:
    """-sum over blocks of log (1/S) sum_s p(block | prefix, z_s), z_s ~ q(z | prefix).

    The guide of a block is fitted to the tokens before it alone, from nothing for the first, so
    each factor is a probability distribution over what comes next and the whole a code length of
    the document (prequential, Dawid 1984). Smaller blocks know more and cost more fits. By
    Jensen's inequality S draws overstate it. It bounds the -log p of this predictor, which is not
    the model's own marginal unless the guides are exact.
    """
    rows = task.rows
    nats = torch.zeros(len(rows), device=rows.lengths.device)
    variance = torch.zeros_like(nats)
    longest = int(rows.lengths.max())
    for number, start in enumerate(range(0, longest, block)):
        there = (rows.lengths > start).nonzero()[:, 0]
        part = rows[there]
        prefix = part.first(start)
        seed = derive(task.seed, Stream.PREDICTIVE, number)
        program: Program = prior_of(task.model)
        if start:
            fitted = infer(task.model, prefix, task.guide, task.fast, seed, len(prefix))
            program = fitted.chunks[0][0]
        seen = part.first(start + block)
        with torch.no_grad(), Noise(derive(seed, Stream.DRAW), part.key).draw():
            scores = token_log_prob(task.model, draw_latents(program, prefix, DRAWS), seen)
        mean, its_variance = log_mean_exp(scores[..., start:].sum(-1))
        nats[there] -= mean
        if its_variance is not None:
            variance[there] += its_variance
    protocol = (
        f"bound (predictive): blocks of {block}, {task.how} on the prefix alone, "
        f"{DRAWS} fresh draws"
    )
    others = [s for s in Sites.of(task.model, rows).of_kind("observed") if s != "tokens"]
    if others:  # which the guides have seen
        protocol += f"; of tokens given {', '.join(others)}"
    return Estimate(
        nats, protocol, DRAWS, variance, holds_prior_density=False, observed=("tokens",)
    )
