"""Thoughts of texts that are yet to be written: from the prior, or fitted to what is given."""

import zlib
from collections.abc import Mapping
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
from ltm_pyro.inference.local import MakeGuide
from ltm_pyro.inference.posterior import infer
from ltm_pyro.models import LatentThoughtModel
from ltm_pyro.programs.densities import draw_latents, prior_of
from ltm_pyro.programs.handlers import is_thoughts
from ltm_pyro.programs.reading import Sites
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
    samples z behind all that it observes of them; where it observes one behind z (a rating that
    depends on z), from q(z | rating), fitted to the rating and to no text.

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
        blank = rows_where(codes, [([0], [0])], 1).to(self.device)
        self.nothing = blank.first(0)
        self.behind: list[str] = []
        if not self.plain:
            self.behind = _observed_behind(model, self.nothing)
            if any(site.kind == "shared" for site in Sites.of(model, self.nothing)):
                self.shared = getattr(guide, "keywords", {}).get("shared")
                if self.shared is None:
                    raise InputError(
                        f"{type(model).__name__} samples sites once for all documents, and their "
                        "guide is not given: guide=run.guide, or guide=svi.guide"
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
        if fitted:
            documents = [(encoded[text] or [0], [0] * len(encoded[text] or [0])) for text in fitted]
            length = self.model.config.architecture.length
            rows = rows_where(self.codes, documents, length)
            sizes = torch.tensor([len(encoded[text]) for text in fitted])
            rows = Rows(rows.tokens, sizes, rows.document, rows.bytes, rows.key, rows.columns)
            posterior = infer(self.model, rows, self.guide, self.fast, self.seed)
            for number in range(1 + max(number for text, number in texts if text in fitted)):
                # One at a time: a text's thoughts do not depend on how many texts there are.
                drawn = posterior.sample(1, derive(self.seed, Stream.POSTERIOR_THOUGHTS, number))[0]
                found |= {(text, number): z for text, z in zip(fitted, drawn, strict=True)}
        for text in texts:
            if text not in found:
                with torch.no_grad(), seeded(self.seed, Stream.PRIOR_THOUGHTS, *name_of(text)):
                    found[text] = self._from_prior()[0]
        return torch.stack([found[text] for text in texts])

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
        if self.shared is None:
            return nullcontext()
        known = Sites.of(self.model, self.nothing).all

        def program(batch: Rows) -> None:
            self.shared()

        drawn = draw_latents(program, self.nothing, 1)
        values = {name: known[name].image(u)[0] for name, u in drawn.items()}
        return poutine.condition(data={n: _squeezed(v, known[n].shape) for n, v in values.items()})


def _squeezed(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    return value.reshape(shape) if value.numel() == torch.Size(shape).numel() else value


def _observed_behind(model: Any, rows: Rows) -> list[str]:
    """Sites that a model observes of these rows, not missing there, behind its thoughts."""
    with torch.no_grad(), seeded(0):
        trace = poutine.trace(model).get_trace(rows)
    found, met = [], False
    for name, node in trace.nodes.items():
        if node["type"] != "sample":
            continue
        met = met or is_thoughts(name)
        if met and node["is_observed"] and name != "tokens":
            mask = node["mask"]
            if mask is None or bool(torch.as_tensor(mask).any()):
                found.append(name)
    return found
