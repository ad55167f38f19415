"""Text from thoughts: drawn from the prior, fitted to a prompt, or given."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ltm_pyro.config import Fast
from ltm_pyro.data.tokenizer import Tokenizer
from ltm_pyro.errors import InputError, first_line, printable
from ltm_pyro.generation.choosing import Sampling
from ltm_pyro.generation.continuation import Why
from ltm_pyro.generation.refitting import Refits
from ltm_pyro.generation.thoughts import Beginnings
from ltm_pyro.generation.where import codes_of
from ltm_pyro.generation.writing import Writer
from ltm_pyro.guides import MeanField
from ltm_pyro.inference.checks import with_gradients
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.models import AutoregressiveModel, LatentThoughtModel
from ltm_pyro.options import Count, Whole, checked
from ltm_pyro.programs.elbo import check_weights


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
            (texts, 0, 0, 0). Where they changed on the way, the last.
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
    progressive: Count | None = None,
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
        progressive: fit q anew whenever a text has grown by so many tokens, to its prompt and what
            is written of it, from where the last fit ended, and go on with a draw of it. Without a
            prompt the first thoughts are the prior's, and the first fit starts as the guide does.
            Were q the posterior itself, texts of the model's own distribution would be distributed
            as they are without.
        seed: where thoughts and tokens come from.
        cached: keep the window's keys and values; False computes each row anew for each token.
        on_text: called with a text's index and what was added to its continuation, as soon as
            that is certain: whole characters, and nothing that may yet become a stop string.
        on_end: called with a text's index when it has ended.

    Raises:
        InputError: for a prompt that leaves no room, a setting out of its range, a column or
            value that the model does not know; for thoughts that are given and to be fitted; or for
            columns or either of these and a model without latents.
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
    writer = Writer(model, tokenizer, prompt, n, length, sampling, stop, cached)
    prompts = any(writer.prompts)
    again = None
    z: Tensor | None = None
    if isinstance(model, AutoregressiveModel):
        if thoughts is not None or where:
            raise InputError("thoughts or columns are given, but this model has no latents")
        if progressive is not None:
            raise InputError("progressive fits thoughts, but this model has no latents")
        protocol = "no thoughts"
    elif thoughts is None:
        begin = Beginnings(model, codes_of(model, where or {}), guide, fast or Fast(), seed)
        z, protocol = begin.draw(writer.encoded, writer.texts), begin.protocol(prompts, where or {})
        if progressive is not None:
            again = Refits(begin, writer.texts)
            protocol += (
                f", then z ~ q(z | text so far) every {progressive} tokens, each fit begun "
                f"{again.start}"
            )
    else:
        codes_of(model, where or {})
        if progressive is not None:
            raise InputError("progressive fits thoughts, but thoughts are given: leave one out")
        protocol = "thoughts as given"
        z = _given(thoughts, (len(writer.texts), *model.thoughts.shape)).to(model.decoder.head)
    draft = writer.first(seed, on_text=on_text, on_end=on_end)
    draft.write(z, progressive)
    stage = 0
    while again is not None and z is not None and (live := draft.live):
        z, stage = z.clone(), stage + 1
        z[live] = again.fit([writer.texts[i] for i in live], draft.ids(live), stage).sample()[0]
        draft.write(z, progressive)
    return Generation(**draft.fields(z), protocol=protocol)


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
