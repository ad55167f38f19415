"""A search for a text and its thoughts: write, fit thoughts to what is written, write again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ltm_pyro.config import Fast
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.generation.choosing import Sampling
from ltm_pyro.generation.refitting import Refits
from ltm_pyro.generation.texts import Generation
from ltm_pyro.generation.thoughts import Beginnings
from ltm_pyro.generation.where import codes_of
from ltm_pyro.generation.writing import Writer
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.checks import with_gradients
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.options import Count, Whole, checked
from ltm_pyro.programs.elbo import check_weights
from ltm_pyro.seeds import Stream, derive


@dataclass(frozen=True)
class Rethought(Generation):
    """The best texts of a search, by its score, and what it looked at.

    Attributes:
        scores: of every text that was tried, (rounds + 1, texts), nats/token: the ELBO of prompt
            and continuation by fresh draws of the q that was fitted to them, over their tokens. The
            highest is kept: it was selected, so it says nothing of how probable texts are.
        kept: the round of the text that was kept, (texts,); 0 is the first, before any rethinking.
    """

    scores: Tensor = field(kw_only=True)
    kept: Tensor = field(kw_only=True)


@checked
@with_gradients
def rethink(
    model: LatentThoughtModel,
    tokenizer: Tokenizer,
    prompt: str | Sequence[str] | None = None,
    n: Count = 1,
    *,
    rounds: Whole = 4,
    particles: Count = 8,
    length: Count | None = None,
    sampling: Sampling | None = None,
    stop: str | Sequence[str] = (),
    where: Mapping[str, str | float] | None = None,
    guide: MakeGuide = MeanField,
    fast: Fast | None = None,
    seed: Whole = 0,
) -> Rethought:
    """Search for texts that their own thoughts explain well; no sampling, and no likelihood.

    First a text is written as `generate` writes it, and q fitted to prompt and continuation. In
    each round the prompt is continued anew under a draw of the q of the best text so far, and q
    fitted to the new text, from where that of the best ended. The new text is kept if it scores
    higher, nats/token. So texts are no draws of the model, and their scores are those of a search:
    higher with every round by construction.

    Each text is searched for by itself, and up to rounding depends on no other; `rounds=0` gives
    the texts of `generate`.

    Args:
        model, tokenizer, prompt, n, length, sampling, stop, where, guide, fast, seed: as for
            `generate`.
        rounds: times that each text is written again.
        particles: draws of q that a text is scored with.

    Raises:
        InputError: as `generate`, and for a guide without a density, which has no score.
    """
    check_weights(model)
    writer = Writer(model, tokenizer, prompt, n, length, sampling, stop)
    texts = writer.texts
    begin = Beginnings(model, codes_of(model, where or {}), guide, fast or Fast(), seed)
    z = begin.draw(writer.encoded, texts)
    best, refits = writer.first(seed), Refits(begin, texts)
    best.write(z)
    scores, kept = list[Tensor](), torch.zeros(len(texts), dtype=torch.long)
    upcoming = list[Tensor]()  # z of each round that follows, from the best texts' q
    for turn in range(rounds + 1):
        draft, tried = best, z
        if turn > 0:
            draft, tried = writer.begin(seed, Stream.RETHOUGHT, turn), upcoming.pop(0)
            draft.write(tried)
        posterior = refits.fit(texts, draft.ids(range(len(texts))), 0, turn)
        score = posterior.elbo(particles).elbo.mean(0).cpu() / draft.lengths.cpu()
        # One at a time, or they would follow from how many rounds there are.
        drawn = [
            posterior.sample(1, derive(seed, Stream.RETHOUGHT, turn, later))[0]
            for later in range(turn, rounds)
        ]
        if turn == 0:
            upcoming = drawn
        else:
            better = score > torch.stack(scores).amax(0)
            best.replace(better.nonzero()[:, 0].tolist(), draft)
            refits.undo([text for text, b in zip(texts, better.tolist(), strict=True) if not b])
            kept[better] = turn
            which = better.to(z.device)[:, None, None, None]
            z = torch.where(which, tried, z)
            upcoming = [
                torch.where(which, new, old) for new, old in zip(drawn, upcoming, strict=True)
            ]
        scores.append(score)
    drawn_from = begin.protocol(any(writer.prompts), where or {})
    protocol = (
        f"search, no draw of the model and no likelihood: {drawn_from}, then "
        f"{rounds} times a text anew under z ~ q(z | the best text), each fit begun "
        f"{refits.start}; kept is the highest ELBO of prompt and continuation, nats/token, by "
        f"{particles} draws"
    )
    return Rethought(**best.fields(z), protocol=protocol, scores=torch.stack(scores), kept=kept)
