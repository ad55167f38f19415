"""Questions of a held-out split, each behind demonstrations of the training split."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ltm_pyro.config import Data
from ltm_pyro.data import Tokenizer
from ltm_pyro.data.building import SPLITS, every, survey
from ltm_pyro.data.documents import find, several
from ltm_pyro.data.near_duplicates import groups
from ltm_pyro.data.sources.base import Wanted
from ltm_pyro.errors import InputError
from ltm_pyro.experiments.reasoning.answers import answer_of
from ltm_pyro.seeds import Stream, generator


@dataclass(frozen=True)
class Record:
    """A question and its answer.

    Attributes:
        split: where its document falls: train, valid or test.
        digest: of its document's text, as `data.building.digest_of` has it.
        question, answer: two fields of it.
        reference: the number that the answer gives.
    """

    split: str
    digest: int
    question: str
    answer: str
    reference: str


@dataclass(frozen=True)
class Asked:
    """A question as it is asked.

    Attributes:
        record: the question.
        demonstrations: what stands before it, in this order.
        prompt: demonstrations and question; None where not even the question leaves the room that
            its answer is to have.
    """

    record: Record
    demonstrations: tuple[Record, ...]
    prompt: str | None


@dataclass(frozen=True)
class Exam:
    """Questions that are asked, and what is to be known of them.

    Attributes:
        asked: the questions, in the order of the corpus.
        of: how many there were to choose from.
        left_out: questions of the split that the run was trained on, and copies of others.
        near_training: questions that are asked, and have a near-duplicate in the training split.
        commonest: answers of the training split, the most common one first.
    """

    asked: list[Asked]
    of: int
    left_out: int
    near_training: int
    commonest: list[str]


def read(data: Data, question: str, answer: str) -> list[Record]:
    """The questions of a text whose answer has a number, split as `load_corpus` splits documents.

    Raises:
        InputError: for a field that the text does not have.
    """
    wanted = Wanted(data.fields, data.separator, (question, answer), data.delimiter)
    name = data.source
    found = (several if isinstance(name, tuple) else find)(
        name, wanted, data.subset, data.streaming, data.limit
    )
    found = replace(found, splits={split: list(some) for split, some in found.splits.items()})
    known = survey(found, (), bool(data.dedup))
    records = []
    for place, digest, (_, document) in zip(known.split, known.digest, every(found), strict=True):
        asks, says = document.columns.get(question), document.columns.get(answer)
        reference = None if says is None else answer_of(says)
        if asks and asks.strip() and says is not None and reference is not None:
            records.append(Record(SPLITS[place], digest, asks.strip(), says.strip(), reference))
    return records


def prompt_of(demonstrations: Sequence[Record], question: str, between: str) -> str:
    """Demonstrations and a question, each question a line above its answer.

    So are fields of a record laid out in a document's text.
    """
    told = [f"{one.question}\n{one.answer}" for one in demonstrations]
    return between.join([*told, f"{question}\n"])


def ask(
    records: Sequence[Record],
    split: str,
    known: NDArray[np.uint64] | None,
    number: int,
    shots: int,
    between: str,
    tokenizer: Tokenizer,
    most: int,
    seed: int,
) -> Exam:
    """Choose questions of a split by lot, and for each its demonstrations.

    Demonstrations are of the training split, drawn by lot for each question. None of them is one of
    the questions that are asked, nor a near-duplicate of one (`data.near_duplicates`). Of those
    drawn as many are taken, in their order, as let the prompt have at most so many tokens.

    Args:
        records: of all splits.
        split: whose questions are asked, test or valid.
        known: documents that the run was trained on, which are not asked about; None for none.
        number: questions.
        shots: demonstrations of each.
        between: what stands between them.
        tokenizer: the run's.
        most: tokens of a prompt.
        seed: every draw follows from it.

    Raises:
        InputError: if there are no questions, or fewer demonstrations than a question is to have.
    """
    there = [one for one in records if one.split == split]
    seen = set() if known is None else set(known.tolist())
    fresh = [one for one in there if one.digest not in seen]
    fresh = [*{one.question: one for one in fresh}.values()]  # copies are asked once
    if not fresh:
        raise InputError(
            f"no question to ask: of split {split} {len(there)} have an answer with a number"
            + (", and the run was trained on all of them" if there else "")
            + ": give other --data, or another field to --question or --answer"
        )
    order = torch.randperm(len(fresh), generator=generator(seed, Stream.QUESTIONS))[:number]
    chosen = [fresh[i] for i in sorted(order.tolist())]
    training = [one for one in records if one.split == "train"]
    group = groups([one.question for one in (*training, *chosen)]).tolist()
    own = group[len(training) :]
    near_own = {*own}
    pool = [one for one, near in zip(training, group, strict=False) if near not in near_own]
    if len(pool) < shots:
        raise InputError(
            f"{shots} demonstrations are asked for, and the training split has {len(pool)} "
            "that are not near-duplicates of questions: give --shots fewer, or --data that holds "
            "the training split too"
        )
    asked = []
    for one in chosen:
        lot = torch.randperm(
            len(pool), generator=generator(seed, Stream.DEMONSTRATIONS, one.digest)
        )
        drawn = [pool[i] for i in lot[:shots].tolist()]
        asked.append(_fitting(one, drawn, between, tokenizer, most))
    answers = Counter(one.reference for one in training).most_common()
    near = {*group[: len(training)]}
    return Exam(
        asked, len(fresh), len(there) - len(fresh), sum(one in near for one in own),
        [answer for answer, _ in answers],
    )  # fmt: skip


def _fitting(
    record: Record, drawn: list[Record], between: str, tokenizer: Tokenizer, most: int
) -> Asked:
    """A question behind as many of its demonstrations as fit."""
    for k in range(len(drawn), -1, -1):
        prompt = prompt_of(drawn[:k], record.question, between)
        if len(tokenizer.encode(prompt)) <= most:
            return Asked(record, tuple(drawn[:k]), prompt)
    return Asked(record, (), None)
