"""How often a run answers questions rightly, with thoughts and without."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

from ltm_pyro.errors import InputError
from ltm_pyro.experiments.reasoning.questions import Asked, Exam, ask, read
from ltm_pyro.experiments.reasoning.report import ARMS, report
from ltm_pyro.experiments.studies.base import Found, Part, Results, Trial
from ltm_pyro.experiments.studies.of_run import OfRun
from ltm_pyro.generation import Generation, Sampling, generate
from ltm_pyro.generation.thoughts import Beginnings
from ltm_pyro.generation.where import codes_of
from ltm_pyro.options import Count, Fraction, NotNegative, Whole
from ltm_pyro.runs.seen import seen


@dataclass(frozen=True, kw_only=True)
class Reasoning(OfRun):
    """Ask a run questions behind demonstrations, with thoughts and without: pass@k and a vote.

    Answers are numbers. Thoughts are fitted to the prompt alone: demonstrations of the training
    split, and the question. The same prompts are continued with thoughts from the prior, and by
    the control without latents where the run has one. Raises InputError for a text without such
    questions, and where no question leaves an answer room in a row of the decoder.
    """

    question: str = "question"
    """The field of a record that holds its question."""
    answer: str = "answer"
    """The field that holds its answer: the number behind ####, or else the last number."""
    split: Literal["test", "valid"] = "test"
    """The split whose questions are asked; documents that were trained on are left out."""
    questions: Count = 100
    """Questions, chosen by lot."""
    shots: Whole = 4
    """Demonstrations of each question, drawn by lot from the training split; fewer where more do
    not fit into a row."""
    samples: Count = 16
    """Answers to each question."""
    room: Count | None = None
    """Tokens of a row that are kept for an answer (default: a quarter of the row)."""
    between: str = "\n\n"
    """What stands between demonstrations, and ends an answer."""
    temperature: NotNegative = 1.0
    """Logits are divided by it; 0 takes the likeliest token."""
    top_k: Count | None = None
    """Draw from this many of the likeliest tokens."""
    top_p: Fraction = 1.0
    """Of these, draw from the likeliest that together hold this probability."""
    chunk: Count = 8
    """Questions answered at once; bounds the memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.between:
            raise InputError("--between is empty: demonstrations would run into one another")

    @cached_property
    def kept(self) -> int:
        """Tokens that are kept for an answer."""
        row = self.loaded.config.architecture.length
        room = max(1, row // 4) if self.room is None else self.room
        if room >= row:
            raise InputError(f"--room {room}: a row of this run has {row} tokens, prompt included")
        return room

    @cached_property
    def exam(self) -> Exam:
        """The questions, and each one's demonstrations."""
        run = self.loaded
        row = run.config.architecture.length
        records = read(self.data_of(self.text), self.question, self.answer)
        found = ask(
            records, self.split, seen(run.path), self.questions, self.shots, self.between,
            run.tokenizer, row - self.kept, self.seed,
        )  # fmt: skip
        if all(one.prompt is None for one in found.asked):
            raise InputError(
                f"none of {len(found.asked)} questions leaves {self.kept} tokens for an answer in "
                f"a row of {row}: give --room fewer, or a run with a larger --length"
            )
        return found

    @property
    def arms(self) -> list[str]:
        """What prompts are continued with."""
        return [arm for arm in ARMS if arm != "control" or self.loaded.baseline is not None]

    def parts(self) -> Sequence[Part]:
        """Some questions with one kind of thoughts each; work is counted in texts."""
        asked = self.exam.asked
        found = []
        for start in range(0, len(asked), self.chunk):
            some = asked[start : start + self.chunk]
            work = self.samples * sum(one.prompt is not None for one in some)
            follows = hashlib.sha256(repr(some).encode()).hexdigest()[:16]
            found += [
                Part(f"{start:05d}-{arm}", partial(self.answered, arm, some), work, follows)
                for arm in self.arms
            ]
        return found

    def trial(self) -> Trial:
        """A quarter of the first part: fewer texts at once take longer each."""
        there = [one for one in self.exam.asked if one.prompt is not None]
        some = there[: max(1, self.chunk // 4)]
        return Trial(lambda: self.answered(self.arms[0], some), self.samples * len(some))

    def answered(self, arm: str, some: Sequence[Asked]) -> Found:
        """The texts that are written behind the prompts of some questions, with one kind of
        thoughts."""
        prompts = [one.prompt for one in some if one.prompt is not None]
        written = self.written(arm, prompts) if prompts else None
        texts = iter([] if written is None else zip(written.continuations, written.ended,
                                                    strict=True))  # fmt: skip
        questions = []
        for one in some:
            own = [] if one.prompt is None else [next(texts) for _ in range(self.samples)]
            questions.append({
                "id": f"{one.record.digest:016x}",
                "question": one.record.question,
                "reference": one.record.reference,
                "demonstrations": [f"{d.digest:016x}" for d in one.demonstrations],
                "asked": one.prompt is not None,
                "texts": [text for text, _ in own],
                "ended": [ended for _, ended in own],
            })  # fmt: skip
        return {"arm": arm, "facts": self.facts, "questions": questions}

    @property
    def facts(self) -> Found:
        """What is to be known of the questions and of the run."""
        exam, decoder = self.exam, self.loaded.model.decoder
        return {
            "of": exam.of, "left_out": exam.left_out, "near_training": exam.near_training,
            "commonest": exam.commonest[: self.samples], "row": decoder.architecture.length,
            "room": self.kept, "reach": decoder.reach,
        }  # fmt: skip

    def written(self, arm: str, prompts: list[str]) -> Generation:
        """`samples` continuations of each prompt; all arms pick tokens by the same numbers."""
        run, n = self.loaded, self.samples
        given: dict[str, Any] = {
            "sampling": Sampling(self.temperature, self.top_k, self.top_p),
            "stop": self.between, "seed": self.seed,
        }  # fmt: skip
        if arm == "control":
            assert run.baseline is not None
            return generate(run.baseline, run.tokenizer, prompts, n, **given)
        if arm == "prior":
            begin = Beginnings(run.model, codes_of(run.model, {}), run.guide, self.fast, self.seed)
            texts = [(prompt, i) for prompt in prompts for i in range(n)]
            given["thoughts"] = begin.draw({prompt: [] for prompt in prompts}, texts)
        return generate(
            run.model, run.tokenizer, prompts, n, guide=run.guide, fast=self.fast, **given
        )

    def results(self, found: Mapping[str, Found]) -> Results:
        """Shares of right answers, and what thoughts change, paired by question."""
        sampling = f"temperature {self.temperature:g}"
        sampling += "" if self.top_k is None else f", of the {self.top_k} likeliest tokens"
        sampling += "" if self.top_p == 1 else f", of a nucleus of {self.top_p:g}"
        return report(found, self.samples, self.shots, self.split, sampling)
