"""Text from thoughts: drawn from the prior, or fitted to a prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor

from ltm_pyro.config import Fast
from ltm_pyro.data.rows import rows_of_documents
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.decoding import Choose, decode
from ltm_pyro.errors import InputError
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.seeds import generator, seeded


@dataclass(frozen=True)
class Generation:
    """Generated texts and what they were decoded from.

    Attributes:
        prompts: the prompt of each text ("" where there was none).
        continuations: what was decoded after the prompt, one for each text.
        tokens: token ids of prompt and continuation, shape (texts, tokens).
        thoughts: z of each text, shape (texts, layers, slots, dim).
    """

    prompts: list[str]
    continuations: list[str]
    tokens: Tensor
    thoughts: Tensor

    @property
    def texts(self) -> list[str]:
        """Prompt and continuation of each."""
        return [p + c for p, c in zip(self.prompts, self.continuations, strict=True)]

    def __str__(self) -> str:
        return ("\n" + "-" * 72 + "\n").join(self.texts)


def generate(
    model: LatentThoughtModel,
    tokenizer: Tokenizer,
    prompt: str | Sequence[str] | None = None,
    n: int = 1,
    *,
    length: int | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    guide: MakeGuide = MeanField,
    fast: Fast | None = None,
    seed: int = 0,
) -> Generation:
    """Decode `n` texts, or `n` continuations of each prompt.

    Without a prompt z comes from the prior; with one, from q(z | prompt), fitted to the prompt
    alone. Each text has thoughts of its own. A text ends at the end-of-text token or at `length`
    tokens, prompt included (the decoder's row length unless given).

    Args:
        model, tokenizer: a trained model and its tokenizer.
        prompt: a text, or several.
        n: texts for each prompt.
        temperature: logits are divided by it; 0 takes the likeliest token.
        top_p: draw from the likeliest tokens that together hold this probability.
        guide, fast: what is fitted to a prompt, and how.
        seed: where thoughts and tokens come from.

    Raises:
        InputError: for a prompt that leaves no room, or a setting out of its range.
    """
    longest = model.config.architecture.length
    length = longest if length is None else length
    if not 1 <= length <= longest:
        raise InputError(f"length {length}: this decoder writes 1 to {longest} tokens")
    if n < 1:
        raise InputError(f"n is {n}: expected 1 or more texts")
    prompts = [prompt] if isinstance(prompt, str) else list(prompt or [""])
    encoded = [tokenizer.encode(text) for text in prompts]
    for text, ids in zip(prompts, encoded, strict=True):
        if len(ids) >= length:
            raise InputError(
                f"prompt {text[:30]!r} has {len(ids)} tokens and leaves no room: texts end at "
                f"{length} tokens"
            )
    thoughts = _thoughts(model, encoded, n, guide, fast or Fast(), seed)
    given = torch.zeros(len(thoughts), max(map(len, encoded)), dtype=torch.long)
    lengths = torch.tensor([len(ids) for ids in encoded for _ in range(n)])
    for row, ids in zip(given, (ids for ids in encoded for _ in range(n)), strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    given, lengths = given.to(thoughts.device), lengths.to(thoughts.device)

    def ended(tokens: Tensor, count: int) -> bool:
        places = torch.arange(count, device=tokens.device)
        written = (tokens[:, :count] == tokenizer.end) & (places >= lengths[:, None])
        return bool(written.any(1).all())

    tokens = decode(
        model.decoder,
        thoughts,
        len(thoughts),
        length,
        chooser(temperature, top_p, generator(seed, 1)),
        prompt=given,
        prompt_lengths=lengths,
        stop=ended,
    )
    continuations = []
    for ids, first in zip(tokens.tolist(), lengths.tolist(), strict=True):
        after = ids[first:]
        after = after[: after.index(tokenizer.end)] if tokenizer.end in after else after
        continuations.append(tokenizer.decode(after))
    return Generation([text for text in prompts for _ in range(n)], continuations, tokens, thoughts)


def _thoughts(
    model: LatentThoughtModel,
    encoded: list[list[int]],
    n: int,
    guide: MakeGuide,
    fast: Fast,
    seed: int,
) -> Tensor:
    """z of each text, (prompts * n, layers, slots, dim); from the prior without a prompt."""
    with torch.no_grad(), seeded(seed), pyro.plate("documents", len(encoded) * n, dim=-1):
        z: Tensor = model.prior()
    fitted = [i for i, ids in enumerate(encoded) if ids]
    if fitted:
        documents = [(encoded[i], [0] * len(encoded[i])) for i in fitted]
        rows = rows_of_documents(documents, model.config.architecture.length, packed=False)
        drawn = infer(model, rows, guide, fast, seed).sample(n)  # (n, fitted, ...)
        z = z.clone()
        z[[i * n + j for i in fitted for j in range(n)]] = drawn.transpose(0, 1).flatten(0, 1)
    return z


def chooser(temperature: float, top_p: float, source: torch.Generator) -> Choose:
    """A rule that picks tokens: tempered, and restricted to a nucleus (Holtzman et al. 2020).

    Raises:
        InputError: if temperature is negative or top_p is not in (0, 1].
    """
    if temperature < 0:
        raise InputError(f"temperature {temperature}: expected 0 (greedy) or more")
    if not 0 < top_p <= 1:
        raise InputError(f"top_p {top_p}: expected more than 0 and at most 1")

    def choose(logits: Tensor) -> Tensor:
        if temperature == 0:
            return logits.argmax(-1)
        probabilities = (logits / temperature).softmax(-1).cpu()
        ranked, order = probabilities.sort(-1, descending=True)
        outside = ranked.cumsum(-1) - ranked >= top_p
        ranked = ranked.masked_fill(outside, 0.0)
        rank = torch.multinomial(ranked, 1, generator=source)
        return order.gather(-1, rank)[:, 0].to(logits.device)

    return choose
