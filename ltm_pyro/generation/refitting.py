"""q(z | text) of texts while they are written, each fit begun where the last one ended."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.generation.thoughts import Beginnings, Text, name_of
from ltm_pyro.generation.where import rows_where
from ltm_pyro.inference.local import new_guide
from ltm_pyro.inference.memory import Memory, Row
from ltm_pyro.inference.posterior import Posterior, infer
from ltm_pyro.seeds import Stream, derive


class Refits:
    """Fits of q to texts that grow or are written anew.

    A fit of a text starts from the local parameters that its last one ended with; the first, from
    those of its prompt. A text without a prompt, and a guide whose parameters are not a document's
    own (a sampler of particles, an encoder), starts as the guide does. What a fit draws follows
    from the text's prompt and number, whatever stands beside it.

    Args:
        begun: where the texts' first thoughts came from.
        texts: prompt and number of each text.
    """

    def __init__(self, begun: Beginnings, texts: Sequence[Text]):
        self.begun = begun
        numbers = range(1 + max(number for _, number in texts))
        all_of = [(prompt, number) for prompt in {text for text, _ in texts} for number in numbers]
        rows = self._rows(all_of, [[0]] * len(all_of))
        self.memory: Memory | None = Memory(rows)
        self.before: dict[int, Row] = {}
        try:
            Memory(rows).remember(new_guide(begun.model, begun.guide, rows), rows)
        except InputError:  # no parameters of a document's own
            self.memory = None
            return
        for guide, fitted, prompts in begun.fits():
            for number in numbers:
                keys = _keys([(prompt, number) for prompt in prompts])
                self.memory.remember(guide, dataclasses.replace(fitted, key=keys))

    @property
    def start(self) -> str:
        """Where fits start, in words."""
        return "anew" if self.memory is None else "from its last state"

    def fit(self, texts: Sequence[Text], ids: Sequence[Sequence[int]], *keys: int) -> Posterior:
        """q(z | text) of texts, given their token ids; draws follow from the seed and `keys`."""
        begun = self.begun
        seed = derive(begun.seed, Stream.REFIT, *keys)
        self.before = {} if self.memory is None else dict(self.memory.changed)
        return infer(
            begun.model, self._rows(texts, ids), begun.guide, begun.fast, seed, memory=self.memory
        )

    def undo(self, texts: Sequence[Text]) -> None:
        """Let these texts' next fit start where the last one did."""
        if self.memory is not None:
            places = np.searchsorted(self.memory.keys, _keys(texts).numpy()).tolist()
            self.memory.changed |= {place: self.before[place] for place in places}

    def _rows(self, texts: Sequence[Text], ids: Sequence[Sequence[int]]) -> Rows:
        length = self.begun.model.config.architecture.length
        documents = [(list(one), [0] * len(one)) for one in ids]
        rows = rows_where(self.begun.codes, documents, length)
        return dataclasses.replace(rows, key=_keys(texts))


def _keys(texts: Sequence[Text]) -> Tensor:
    """What the draws of each text follow from, (texts,)."""
    return torch.tensor([derive(*name_of(text)) for text in texts], dtype=torch.long)
