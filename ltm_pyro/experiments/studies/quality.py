"""What a run writes, beside held-out text."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from ltm_pyro.data import Corpus
from ltm_pyro.data.cache import content
from ltm_pyro.data.store import StoredRows
from ltm_pyro.errors import InputError
from ltm_pyro.experiments.quality.novelty import copied
from ltm_pyro.experiments.quality.report import CONDITIONAL, HELD_OUT, PROGRESSIVE, tell
from ltm_pyro.experiments.quality.scorers import HuggingFace, Scored, by_control, check_folder
from ltm_pyro.experiments.quality.statistics import (
    distinct,
    entropy,
    has_bleu,
    in_sets,
    repeated,
    self_bleu,
)
from ltm_pyro.experiments.studies.base import Found, Part, Results, Trial
from ltm_pyro.experiments.studies.of_run import OfRun
from ltm_pyro.experiments.studies.rows import documents_by_lot
from ltm_pyro.generation import Generation, Sampling, generate, rethink
from ltm_pyro.options import Count, Fraction, NotNegative
from ltm_pyro.runs.scored import to_score
from ltm_pyro.seeds import derive

SHORTEST = 4
"""Tokens that a held-out text has behind its prompt at least: one n-gram of four."""
Prompt = tuple[str, list[int], list[int]]
"""Of a held-out document: the prompt, its token ids, and those of what follows."""


@dataclass(frozen=True, kw_only=True)
class Quality(OfRun):
    """Judge what a run writes: variety, repetition, novelty, perplexity; does progressive help?

    Prompts are the beginnings of held-out documents, whose own continuations are the reference.
    Raises InputError where there are too few of them for two sets.
    """

    texts: Count = 64
    """Texts of each way of writing: as many prompts, chosen by lot."""
    prompt_tokens: Count = 32
    """Tokens of a prompt."""
    tokens: Count = 96
    """Tokens of a continuation at most; without a prompt, of a text."""
    set_size: Count = 8
    """Texts that distinct-n, entropy and self-BLEU are computed of together."""
    progressive: Count = 32
    """Thoughts are fitted anew after so many tokens, in the way that does so."""
    rounds: Count = 4
    """Times that a text is written again in rethinking."""
    temperature: NotNegative = 1.0
    """Logits are divided by it; 0 takes the likeliest token."""
    top_k: Count | None = None
    """Draw from this many of the likeliest tokens."""
    top_p: Fraction = 1.0
    """Of these, draw from the likeliest that together hold this probability."""
    scorer: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """A causal language model that transformers saved, for perplexity besides the control's."""
    split: str | None = None
    """Where prompts come from (default: test, without documents that were trained on)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.texts < 2 * self.set_size:
            raise InputError(
                f"--texts {self.texts} are no two sets of --set-size {self.set_size}, whose "
                "spread the errors come from: raise the first or lower the second"
            )

    @cached_property
    def corpus(self) -> Corpus:
        """The run's text, wherever it lies now."""
        run, corpus = self.loaded, super().corpus
        if corpus.fingerprint != run.record["data"]["fingerprint"]:
            raise InputError(
                f"{corpus.name} is not the text that {run.path} was trained on, so it does not say "
                "what is copied: give the run's own with --data, and its --field and the like"
            )
        return corpus

    @cached_property
    def prompts(self) -> list[Prompt]:
        """Beginnings of held-out documents, in whole sets."""
        run = self.loaded
        room = run.config.architecture.length - self.prompt_tokens
        if room < self.tokens:
            raise InputError(
                f"--prompt-tokens {self.prompt_tokens} and --tokens {self.tokens}: a row of this "
                f"run has {run.config.architecture.length} tokens"
            )
        rows = to_score(self.corpus, [run], self.split, "test").rows
        index = rows.index
        long = np.flatnonzero(index["length"] > self.prompt_tokens + SHORTEST)
        _, first = np.unique(index["document"][long], return_index=True)
        some = documents_by_lot(rows.chosen(long[first].tolist()), self.texts, self.seed)
        found = [one for i in range(len(some)) if (one := self._cut(some, i)) is not None]
        whole = len(found) - len(found) % self.set_size
        if whole < 2 * self.set_size:
            raise InputError(
                f"{self.corpus.name} has {len(found)} held-out documents of more than "
                f"{self.prompt_tokens + SHORTEST} tokens: fewer than two sets of "
                f"{self.set_size}; lower --set-size or --prompt-tokens"
            )
        return found[:whole]

    def _cut(self, rows: StoredRows, i: int) -> Prompt | None:
        """The row's prompt, the longest that its own text stands for; None where none does."""
        one, tokenizer = rows[i : i + 1], self.loaded.tokenizer
        ids = one.tokens[0, : int(one.lengths[0])].tolist()
        ids = [t for t in ids if t != tokenizer.end]
        for size in range(self.prompt_tokens, 0, -1):
            text = tokenizer.decode(ids[:size])
            if text.strip() and tokenizer.encode(text) == ids[:size]:
                return text, ids[:size], ids[size : size + self.tokens]
        return None

    def ways(self) -> dict[str, float]:
        """How texts are written, and about how much work a text is."""
        again = -(-self.tokens // self.progressive)
        found = {
            HELD_OUT: 0.1, "unconditional": 1.0, CONDITIONAL: 1.3, PROGRESSIVE: 1.3 + 0.5 * again,
            "rethinking": 1.3 + 1.5 * self.rounds,
        }  # fmt: skip
        return found | ({} if self.loaded.baseline is None else {"control": 0.8})

    def parts(self) -> Sequence[Part]:
        """A way of writing each; work is counted in texts."""
        if self.scorer is not None:
            check_folder(self.scorer)
        told = hashlib.sha256(repr([ids for _, *ids in self.prompts]).encode()).hexdigest()[:16]
        return [
            Part(name, partial(self.judge, name), work * len(self.prompts), told)
            for name, work in self.ways().items()
        ]

    def follows(self) -> dict[str, Any]:
        """The run's weights, and all files of the scorer: a path says not what lies there."""
        known = super().follows()
        if self.scorer is not None:
            known["scorer"] = f"files of SHA-256 {content(self.scorer)[0][:16]}"
        return known

    def trial(self) -> Trial:
        """The first texts without a prompt."""
        some = self.prompts[: self.set_size]
        return Trial(lambda: self.write("unconditional", some, 0), len(some))

    def write(self, name: str, prompts: Sequence[Prompt], number: int) -> Generation:
        """The texts of one set, written together."""
        run = self.loaded
        most = self.prompt_tokens + self.tokens
        asked: dict[str, Any] = {
            "sampling": Sampling(self.temperature, self.top_k, self.top_p),
            "seed": derive(self.seed, number),
        }
        fitted: dict[str, Any] = {"guide": run.guide, "fast": self.fast, "length": most, **asked}
        given = [text for text, _, _ in prompts]
        model, tokenizer = run.model, run.tokenizer
        if name == "unconditional":
            return generate(model, tokenizer, None, len(prompts), length=self.tokens, **asked)
        if name == PROGRESSIVE:
            return generate(model, tokenizer, given, progressive=self.progressive, **fitted)
        if name == "rethinking":
            return rethink(model, tokenizer, given, rounds=self.rounds, **fitted)
        if name == "control":
            assert run.baseline is not None
            return generate(run.baseline, tokenizer, given, length=most, **asked)
        return generate(model, tokenizer, given, **fitted)

    def judge(self, name: str) -> Found:
        """What a part finds: the texts, and what is measured of each and of each set."""
        sets = in_sets(len(self.prompts), self.set_size)
        known = {} if name == "unconditional" else dict(enumerate(self.prompts))
        ids: list[list[int]] = []
        protocol, rates = "as they stand in the text", list[float]()
        if name == HELD_OUT:
            ids = [text for _, _, text in self.prompts]
        for number, some in enumerate(sets if name != HELD_OUT else ()):
            start = time.perf_counter()
            found = self.write(name, self.prompts[some], number)
            seconds = time.perf_counter() - start
            written = [self._continuation(found, i) for i in range(self.set_size)]
            rates.append(sum(map(len, written)) / seconds)
            ids, protocol = ids + written, found.protocol
        tokenizer = self.loaded.tokenizer
        prompts = [known[i][1] if known else [] for i in range(len(ids))]
        return {
            "protocol": protocol,
            "texts": [
                {"prompt": known[i][0] if known else "", "text": tokenizer.decode(one)}
                for i, one in enumerate(ids)
            ],
            "of_text": {
                "tokens": [float(len(one)) for one in ids],
                "repeated": [repeated(one) for one in ids],
                **self._copied(ids),
                **{name: _each(s) for name, s in self._scored(prompts, ids).items()},
            },
            "of_set": {
                **{f"distinct_{n}": [distinct(ids[some], n) for some in sets] for n in (1, 2, 3)},
                "entropy": [entropy(ids[some]) for some in sets],
                **({"self_bleu": [self_bleu(ids[some]) for some in sets]} if has_bleu() else {}),
                **({"tokens_per_second": rates} if rates else {}),
            },
        }  # fmt: skip

    def _continuation(self, found: Generation, i: int) -> list[int]:
        """Token ids behind a text's prompt, without an end of text."""
        end, tokenizer = self.loaded.tokenizer.end, self.loaded.tokenizer
        first = len(tokenizer.encode(found.prompts[i]))
        ids = found.tokens[i, first : int(found.lengths[i])].tolist()[: self.tokens]
        return [token for token in ids if token != end]

    def _copied(self, ids: list[list[int]]) -> Found:
        """The share of new n-grams, and the longest span that stands in a training row."""
        runs = copied(ids, self.corpus.train)
        n = SHORTEST
        return {
            "new": [float((one[: 1 - n] < n).mean()) if len(one) >= n else None for one in runs],
            "longest": [float(one.max(initial=0)) for one in runs],
        }

    def _scored(self, prompts: list[list[int]], ids: list[list[int]]) -> dict[str, list[Scored]]:
        """-log p of each continuation under the control and the scorer."""
        run, found = self.loaded, {}
        if run.baseline is not None:
            found["control"] = [
                one
                for some in in_sets(len(ids), self.set_size)
                for one in by_control(run.baseline, prompts[some], ids[some])
            ]
        if self.scorer is not None:
            other, decode = self._scorer, run.tokenizer.decode
            pairs = zip(prompts, ids, strict=True)
            found["scorer"] = [other.score(decode(p), decode(one)) for p, one in pairs]
        return found

    @cached_property
    def _scorer(self) -> HuggingFace:
        assert self.scorer is not None
        return HuggingFace(self.scorer, self.device)

    def results(self, found: Mapping[str, Found]) -> Results:
        """Tables of all ways of writing, and what progressive fitting changes."""
        return tell(found, self)


def _each(scored: Sequence[Scored]) -> list[float | None]:
    """Nats per token of each text that has any."""
    return [nats / number if number else None for nats, number in scored]
