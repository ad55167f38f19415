"""Text from thoughts: drawn from the prior, fitted to a prompt, or given."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ltm_pyro.config import Fast
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.errors import InputError, first_line, printable
from ltm_pyro.generation.choosing import Sampling
from ltm_pyro.generation.continuation import Continuation, Why
from ltm_pyro.generation.thoughts import Beginnings, name_of
from ltm_pyro.generation.where import codes_of
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.checks import with_gradients
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel
from ltm_pyro.models.decoders.decode import decode
from ltm_pyro.models.size import check_memory
from ltm_pyro.options import Count, Whole, checked
from ltm_pyro.programs.elbo import check_weights
from ltm_pyro.seeds import Stream, generator


@dataclass(frozen=True)
class Generation:
    """Generated texts and what they were decoded from.

    Attributes:
        prompts: the prompt of each text ("" where there was none).
        continuations: what was decoded after the prompt, one for each text.
        ended: why each text ended: "end" of text, a "stop" string, or the "length".
        tokens: token ids of prompt and continuation, shape (texts, tokens); what stands behind a
            text's length is padding.
        lengths: tokens of each text, shape (texts,), those of an end of text or of a stop string,
            which the continuation leaves out, included.
        thoughts: z of each text, shape (texts, layers, slots, dim); of a model without latents
            (texts, 0, 0, 0).
        protocol: what the thoughts were drawn from, in words.
    """

    prompts: list[str]
    continuations: list[str]
    ended: list[Why]
    tokens: Tensor
    lengths: Tensor
    thoughts: Tensor
    protocol: str = ""

    @property
    def texts(self) -> list[str]:
        """Prompt and continuation of each."""
        return [p + c for p, c in zip(self.prompts, self.continuations, strict=True)]

    def __str__(self) -> str:
        return ("\n" + "-" * 72 + "\n").join(self.texts)

    def __repr__(self) -> str:
        return printable(str(self))


@checked
@with_gradients
def generate(
    model: LatentThoughtModel | AutoregressiveModel,
    tokenizer: Tokenizer,
    prompt: str | Sequence[str] | None = None,
    n: Count = 1,
    *,
    length: Count | None = None,
    sampling: Sampling | None = None,
    stop: str | Sequence[str] = (),
    thoughts: Tensor | NDArray[Any] | Sequence[Any] | None = None,
    where: Mapping[str, str | float] | None = None,
    guide: MakeGuide = MeanField,
    fast: Fast | None = None,
    seed: Whole = 0,
    cached: bool = True,
    on_text: Callable[[int, str], None] | None = None,
    on_end: Callable[[int], None] | None = None,
) -> Generation:
    """Decode `n` texts, or `n` continuations of each prompt, all in one batch.

    Without a prompt z comes from the prior; with one, from q(z | prompt), fitted to the prompt
    alone. Each text has thoughts of its own, and a stream of random numbers of its own that
    follows from `seed`, the prompt and the text's number among those of that prompt. So, up to
    rounding, a text does not depend on the texts it is decoded with.

    Args:
        model, tokenizer: a trained model and its tokenizer. A control without latents, such as
            `run.baseline`, writes from its prompts alone, and picks tokens by the same numbers.
        prompt: a text, or several; "" is no prompt.
        n: texts for each prompt.
        length: tokens at which a text ends at the latest, its prompt included (a row of the
            decoder unless given).
        sampling: temperature, top-k and nucleus; the model's own distribution unless given.
        stop: a string, or several; a text ends before the first of them in its continuation.
        thoughts: decode with these instead, shape (texts, layers, slots, dim); `Generation` has
            what was used in the same form, to be edited.
        where: the value of a column that prior or model reads; columns not named are missing. What
            a model observes before z is given, p(z | label); to what it observes behind z thoughts
            are fitted, q(z | rating); `Generation.protocol` says which.
        guide, fast: what is fitted to a prompt, and how.
        seed: where thoughts and tokens come from.
        cached: keep the window's keys and values; False computes each row anew for each token.
        on_text: called with a text's index and what was added to its continuation, as soon as
            that is certain: whole characters, and nothing that may yet become a stop string.
        on_end: called with a text's index when it has ended.

    Raises:
        InputError: for a prompt that leaves no room, a setting out of its range, a column or value
            that the model does not know, or thoughts for a model without latents.
        NotFinite: for weights that are not.

    Example:
        >>> import ltm_pyro as ltm
        >>> from ltm_pyro.models import LatentThoughtModel
        >>> corpus = ltm.load_corpus({"train": ["a fox", "an owl"], "test": ["a hen"]}, length=8)
        >>> model = LatentThoughtModel(ltm.preset("tiny", corpus))
        >>> written = ltm.generate(model, corpus.tokenizer, n=2, length=6)
        >>> written.thoughts.shape  # texts, layers, slots, dim
        torch.Size([2, 2, 2, 16])
    """
    check_weights(model)
    longest = model.config.architecture.length
    length = longest if length is None else length
    if length > longest:
        raise InputError(f"length {length}: this decoder writes 1 to {longest} tokens")
    sampling = sampling or Sampling()
    prompts, stops = _strings("prompt", "" if prompt is None else prompt), _strings("stop", stop)
    if not prompts:
        raise InputError("prompt is an empty list: leave it out to write from the prior")
    if "" in stops:
        raise InputError("stop holds an empty string: every text would end before it began")
    number, words = len(prompts) * n, model.config.architecture.vocabulary
    row = 16 * words + 16 * length  # its logits and their order, its tokens and random numbers
    check_memory({f"{number:,} texts, {row:,} bytes each": number * row}, "n, or the prompts")
    encoded = {text: _encoded(tokenizer, text, length, longest) for text in prompts}
    texts = _numbered(prompts, n)
    z: Tensor | None
    if isinstance(model, AutoregressiveModel):
        if thoughts is not None or where:
            raise InputError("thoughts or columns are given, but this model has no latents")
        z, protocol = None, "no thoughts"
    elif thoughts is None:
        codes = codes_of(model, where or {})
        begin = Beginnings(model, codes, guide, fast or Fast(), seed)
        z, protocol = begin.draw(encoded, texts), begin.protocol(any(prompts), where or {})
    else:
        protocol = "thoughts as given"
        z = _given(thoughts, (len(texts), *model.thoughts.shape)).to(model.decoder.head)
    # As many as the decoder's row has tokens, whatever `length`: a shorter text is a beginning.
    uniforms = torch.stack(
        [
            torch.rand(
                longest, generator=generator(seed, Stream.TOKENS, *name), dtype=torch.float64
            )
            for name in map(name_of, texts)
        ]
    )
    written = [Continuation(tokenizer, encoded[text], stops) for text, _ in texts]

    def choose(logits: Tensor, rows: Tensor, position: int) -> Tensor:
        return sampling.choose(logits, uniforms[rows.cpu(), position])

    def ended(drawn: Tensor, rows: Tensor, position: int) -> list[bool]:
        live = rows.tolist()
        for i, token in zip(live, drawn.tolist(), strict=True):
            if position < len(written[i].prompt):
                continue
            piece = written[i].add(token, last=position + 1 == length)
            if piece and on_text is not None:
                on_text(i, piece)
            if written[i].ended is not None and on_end is not None:
                on_end(i)
        return [written[i].ended is not None for i in live]

    rows = pad_sequence([torch.tensor(text.prompt).long() for text in written], batch_first=True)
    sizes = torch.tensor([len(text.prompt) for text in written])
    tokens = decode(model.decoder, z, len(texts), length, choose, rows, sizes, ended, cached)
    return Generation(
        [text for text, _ in texts],
        [text.text for text in written],
        [text.ended or "length" for text in written],
        tokens,
        torch.tensor([text.count for text in written], device=tokens.device),
        tokens.new_empty(len(texts), 0, 0, 0, dtype=torch.float32) if z is None else z,
        protocol,
    )


def _strings(name: str, given: str | Sequence[str]) -> list[str]:
    """One string or several, as a list."""
    strings = [given] if isinstance(given, str) else given
    if not isinstance(strings, Sequence) or not all(isinstance(s, str) for s in strings):
        raise InputError(f"{name} is {given!r:.60}: expected a text, or a list of texts")
    return list(strings)


def _encoded(tokenizer: Tokenizer, text: str, length: int, longest: int) -> list[int]:
    """Token ids of a prompt, if there is room behind it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"prompt {text[:30]!r} is not text: it cannot be UTF-8") from None
    ids = tokenizer.encode(text)
    if len(ids) >= length:
        longer = f"allow more tokens (up to {longest})"
        raise InputError(
            f"prompt {text[:30]!r} has {len(ids)} tokens and leaves no room in a row of {length}: "
            f"shorten it, or {longer if length < longest else 'train with a larger --length'}"
        )
    return ids


def _numbered(prompts: list[str], n: int) -> list[tuple[str, int]]:
    """The prompt of each text, and the text's number among those of that prompt."""
    seen: Counter[str] = Counter()
    texts = []
    for text in (text for text in prompts for _ in range(n)):
        texts.append((text, seen[text]))
        seen[text] += 1
    return texts


def _given(given: Any, shape: tuple[int, ...]) -> Tensor:
    """Thoughts from outside, if they are of this shape."""
    try:
        thoughts = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"thoughts are no tensor: {first_line(error)}") from None
    if tuple(thoughts.shape) != shape:
        raise InputError(
            f"thoughts have shape {tuple(thoughts.shape)}: expected {shape}, that is "
            "(texts, layers, slots, dim)"
        )
    if not thoughts.isfinite().all():
        raise InputError("thoughts hold a NaN or an infinity")
    return thoughts.detach()
