"""Demonstrations come from the training split, and never tell the question that is asked."""

import json

import numpy as np
import pytest

import ltm_pyro as ltm
from ltm_pyro.config import Data
from ltm_pyro.data import Tokenizer
from ltm_pyro.data.building import digest_of
from ltm_pyro.errors import InputError
from ltm_pyro.experiments.reasoning.questions import ask, prompt_of, read

BYTES = Tokenizer.train(["no merges"], 258)
FIELDS = {"fields": ("question", "answer")}


def sums(path, some, wordy=False):
    lines = []
    for i in some:
        text = f"question {i}: what is {i} and {2 * i}?"
        if wordy:
            text += " Think of a boat that carries so many apples over the wide sea." * (i % 2)
        lines.append({"question": text, "answer": f"{i}+{2 * i} = {3 * i}\n#### {3 * i}"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "sums"
    folder.mkdir()
    sums(folder / "train.jsonl", range(100))
    sums(folder / "test.jsonl", range(100, 120))
    return Data(str(folder), **FIELDS)


def asked(records, known=None, number=10, shots=3, most=1000, seed=0, split="test"):
    return ask(records, split, known, number, shots, "\n\n", BYTES, most, seed)


def test_questions_are_split_as_documents_are(data, tmp_path):
    records = read(data, "question", "answer")
    corpus = ltm.load_corpus(data, length=400)
    for split in ("train", "valid", "test"):
        digests = {one.digest for one in records if one.split == split}
        assert digests == set(np.asarray(corpus.rows(split).digests).tolist())
        assert digests
    # A text without splits of its own is split by its documents' hashes.
    alone = Data(str(sums(tmp_path / "all.jsonl", range(200))), **FIELDS)
    records, corpus = read(alone, "question", "answer"), ltm.load_corpus(alone, length=400)
    train = {one.digest for one in records if one.split == "train"}
    assert train == set(np.asarray(corpus.train.digests).tolist())
    assert train != {one.digest for one in records}


def test_demonstrations_are_of_the_training_split_alone(data):
    records = read(data, "question", "answer")
    places = {one.digest: one.split for one in records}
    exam = asked(records, number=15)
    assert len(exam.asked) == 15
    assert exam.of == 20
    chosen = [one.demonstrations for one in exam.asked]
    assert {places[one.digest] for some in chosen for one in some} == {"train"}
    assert len({some for some in chosen}) > 10  # each question has its own
    for one in exam.asked:
        assert one.record.split == "test"
        assert len({*one.demonstrations}) == 3
        assert one.prompt == prompt_of(one.demonstrations, one.record.question, "\n\n")
        assert one.prompt.endswith(f"\n\n{one.record.question}\n")
        assert one.prompt.count(one.record.question) == 1
        assert one.record.answer not in one.prompt
    assert asked(records, number=15) == exam
    assert asked(records, number=15, seed=1).asked != exam.asked
    # What is asked does not depend on how many demonstrations there are, nor these on the rest.
    few = asked(records, number=15, shots=2)
    assert [one.demonstrations for one in few.asked] == [some[:2] for some in chosen]


def test_near_duplicates_of_a_question_are_no_demonstrations(data, tmp_path):
    """Half of the training split tells a test question in almost the same words, one the same."""
    words = " ".join(f"word{i}" for i in range(30))
    near = [{"question": f"{words} {i}", "answer": f"{i}"} for i in range(60)]
    far = [{"question": f"{i} is how many?", "answer": f"so {i}.0"} for i in range(5)]
    test = [{"question": f"{words} 77", "answer": "77"}, {"question": f"{words} 77", "answer": "7"}]
    for name, some in (("train", near + far + test[:1]), ("test", test)):
        path = tmp_path / "sums" / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in some))
    exam = asked(read(data, "question", "answer"), shots=3)
    assert len(exam.asked) == 1  # copies are asked once
    assert exam.near_training == 1
    assert all("how many" in d.question for one in exam.asked for d in one.demonstrations)
    with pytest.raises(InputError, match=r"6 demonstrations .* has [45] that are not near-dup"):
        asked(read(data, "question", "answer"), shots=6)


def test_what_was_trained_on_is_not_asked(data):
    records = read(data, "question", "answer")
    test = [one for one in records if one.split == "test"]
    known = np.array(sorted(one.digest for one in test[5:]), np.uint64)
    exam = asked(records, known)
    assert {one.record.digest for one in exam.asked} == {one.digest for one in test[:5]}
    assert exam.left_out == asked(records, known, number=2).left_out == 15
    assert test[0].digest == digest_of(f"{test[0].question}\n{test[0].answer}")
    every = np.array([one.digest for one in test], np.uint64)
    with pytest.raises(InputError, match=r"split test 20 have .* trained on all of them: give"):
        asked(records, every)


def test_questions_are_chosen_by_lot(data):
    records = read(data, "question", "answer")
    test = [one.digest for one in records if one.split == "test"]
    chosen = [[a.record.digest for a in asked(records, seed=seed).asked] for seed in range(20)]
    shares = [sum(digest in some for some in chosen) / 20 for digest in test]
    # Each of twenty in half of twenty lots: by 4.5 errors, sqrt(0.5 * 0.5 / 20), 0 and 1 are out.
    assert 0 < min(shares) <= max(shares) < 1
    assert asked(records).near_training == 0


def test_a_guess_knows_answers_of_the_training_split_alone(tmp_path):
    answers = {"train": [5, 9, 7, 5, 7, 7], "test": [8] * 20}
    for name, some in answers.items():
        lines = [{"question": f"{name} {i}?", "answer": f"#### {x}"} for i, x in enumerate(some)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    records = read(Data(str(tmp_path), **FIELDS), "question", "answer")
    known = [one.reference for one in records if one.split == "train"]
    assert set(known) == {"5", "7", "9"}
    exam = asked(records, shots=1)
    assert exam.commonest == sorted({*known}, key=lambda x: (-known.count(x), known.index(x)))


def test_as_many_demonstrations_are_taken_as_fit(data):
    records = read(data, "question", "answer")
    whole = asked(records)
    sizes = [len(BYTES.encode(one.prompt)) for one in whole.asked]
    assert asked(records, most=max(sizes)) == whole
    tight = asked(records, most=150)
    assert {len(one.demonstrations) for one in tight.asked} <= {1, 2}
    for one, all_three in zip(tight.asked, whole.asked, strict=True):
        k = len(one.demonstrations)
        assert one.demonstrations == all_three.demonstrations[:k]
        more = prompt_of(all_three.demonstrations[: k + 1], one.record.question, "\n\n")
        assert len(BYTES.encode(one.prompt)) <= 150 < len(BYTES.encode(more))
    assert [one.prompt for one in asked(records, most=10).asked] == [None] * 10


def test_fields_that_are_not_there_are_named(data, tmp_path):
    with pytest.raises(InputError, match=r"unknown column .*'questions'.*did you mean 'question'"):
        read(data, "questions", "answer")
    records = read(data, "answer", "question")
    assert len(records) == 120  # the last number of a question
    # A question's own numbers are no answer.
    more = {"question": "of 7 or 9?", "answer": "neither"}
    with (tmp_path / "sums" / "test.jsonl").open("a") as file:
        file.write(json.dumps(more) + "\n")
    assert len(read(data, "question", "answer")) == 120
    with pytest.raises(InputError, match=r"no question to ask: of split test 0 have an answer"):
        asked([one for one in records if one.split == "train"])
