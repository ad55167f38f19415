"""Thoughts of texts that are yet to be written: from the prior, or fitted to what is given."""

import zlib
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from ltm_pyro.config import Fast
from ltm_pyro.data.rows import Rows
from ltm_pyro.errors import InputError
from ltm_pyro.generation.where import rows_where
from ltm_pyro.guides import Guide
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.inference.posterior import Posterior, infer
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.programs.densities import draw_latents, prior_of
from ltm_pyro.programs.handlers import is_local
from ltm_pyro.programs.reading import Sites
from ltm_pyro.programs.scores import sites
from ltm_pyro.seeds import Stream, derive, seeded

Text = tuple[str, int]
"""A text's prompt, and its number among the texts of that prompt."""


def name_of(text: Text) -> tuple[int, int]:
    """What a text's random numbers follow from: its prompt's content, and its number."""
    return zlib.crc32(text[0].encode()), text[1]


class Beginnings:
    """Where the thoughts of texts come from.

    A text with a prompt has thoughts from q(z | prompt), fitted to that and to the columns that are
    given. One without has them from the prior given the columns, p(z | label), where the model
    observes what is given before it samples anything of the document; where it observes a part of
    that behind a latent site (a rating that depends on z), from q(z | rating), fitted to what is
    given and to no text.

    Args:
        model: the model.
        codes: what is given of each column that it knows, as `where.codes_of` says.
        guide, fast: what is fitted, and how.
        seed: where all draws come from.
    """

    def __init__(
        self,
        model: LatentThoughtModel,
        codes: Mapping[str, float],
        guide: MakeGuide,
        fast: Fast,
        seed: int,
    ):
        self.model, self.codes, self.guide, self.fast, self.seed = model, codes, guide, fast, seed
        self.device = next(model.parameters()).device
        self.plain = type(model) is LatentThoughtModel
        self.shared: Any = None
        self.posterior: Posterior | None = None  # of prompts, once thoughts have been drawn
        self.fitted: list[str] = []
        blank = rows_where(codes, [([0], [0])], 1).to(self.device)
        self.nothing = blank.first(0)
        self.behind: list[str] = []
        if not self.plain:
            self.behind = _observed_behind(model, self.nothing)
            self.sites = Sites.of(model, self.nothing).of_kind("shared")
            self.shared = getattr(guide, "keywords", {}).get("shared")
            if self.sites and self.shared is None:
                raise InputError(
                    f"{type(model).__name__} samples {', '.join(self.sites)} once for all "
                    "documents, and their guide is not given: guide=run.guide, or guide=svi.guide"
                )

    def protocol(self, prompts: bool, where: Mapping[str, Any]) -> str:
        """What thoughts are drawn from, in words: `prompts` says whether texts have any."""
        given = [f"{name}={value}" for name, value in where.items()]
        fitted = prompts or bool(self.behind)
        known = ", ".join([*(["prompt"] if prompts else []), *given])
        return f"z ~ {'q' if fitted else 'p'}(z{' | ' + known if known else ''})"

    def draw(self, encoded: Mapping[str, list[int]], texts: list[Text]) -> Tensor:
        """z of each text, (texts, layers, slots, dim), given each prompt's token ids."""
        found: dict[Text, Tensor] = {}
        fitted = [text for text, ids in encoded.items() if ids or self.behind]
        self.fitted, self.posterior = fitted, None
        if fitted:
            documents = [(encoded[text] or [0], [0] * len(encoded[text] or [0])) for text in fitted]
            length = self.model.config.architecture.length
            rows = rows_where(self.codes, documents, length)
            sizes = torch.tensor([len(encoded[text]) for text in fitted])
            rows = Rows(rows.tokens, sizes, rows.document, rows.bytes, rows.key, rows.columns)
            posterior = infer(self.model, rows, self.guide, self.fast, self.seed)
            self.posterior = posterior
            for number in range(1 + max(number for text, number in texts if text in fitted)):
                # One at a time: a text's thoughts do not depend on how many texts there are.
                drawn = posterior.sample(1, derive(self.seed, Stream.POSTERIOR_THOUGHTS, number))[0]
                found |= {(text, number): z for text, z in zip(fitted, drawn, strict=True)}
        for text in texts:
            if text not in found:
                with torch.no_grad(), seeded(self.seed, Stream.PRIOR_THOUGHTS, *name_of(text)):
                    found[text] = self._from_prior()[0]
        return torch.stack([found[text] for text in texts])

    def fits(self) -> Iterator[tuple[Guide, Rows, list[str]]]:
        """Guides that `draw` has fitted, with their rows and the prompts these are of."""
        first = 0
        for guide, rows in [] if self.posterior is None else self.posterior.chunks:
            yield guide, rows, self.fitted[first : first + len(rows)]
            first += len(rows)

    def _from_prior(self) -> Tensor:
        """z of one text, (1, layers, slots, dim)."""
        if self.plain:
            with pyro.plate("documents", 1, dim=-1):
                z: Tensor = self.model.prior(self.nothing)
            return z
        with self._given_shared():
            returned = prior_of(self.model)(self.nothing)
        shape = (1, *self.model.thoughts.shape)
        if not isinstance(returned, Tensor) or returned.numel() != torch.Size(shape).numel():
            raise InputError(
                f"{type(self.model).__name__}.forward returns "
                f"{tuple(returned.shape) if isinstance(returned, Tensor) else returned}: expected "
                "z, as in `return self.observe(batch, z, prelude, positions)`"
            )
        return returned.reshape(shape)

    def _given_shared(self) -> Any:
        """A block in which sites that documents share have a draw of their guide."""
        if not self.sites:
            return nullcontext()
        drawn = draw_latents(lambda _: self.shared(), self.nothing, 1)
        values = {name: self.sites[name].of_all(drawn[name])[0] for name in self.sites}
        return poutine.condition(data=values)


def _observed_behind(model: Any, rows: Rows) -> list[str]:
    """Sites that a model observes of these rows behind a latent site of the document.

    Missing values, observed or latent (`obs_mask`), stand under a mask that leaves out everything.
    """
    with torch.no_grad(), seeded(0):
        trace = poutine.trace(model).get_trace(rows)
    found, met = [], False
    for name, node in sites(trace).items():
        mask = node["mask"]
        if name == "tokens" or not (mask is None or bool(torch.as_tensor(mask).any())):
            continue
        if not node["is_observed"]:
            met = met or is_local(node)
        elif met:
            found.append(name)
    return found
