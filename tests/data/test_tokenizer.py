import math
import random

import pytest
import tokenizers

import ltm_pyro as ltm
from ltm_pyro.data import Tokenizer
from ltm_pyro.errors import InputError
from ltm_pyro.models import LatentThoughtModel

TEXTS = ["def f(x):\n    return x", "naïve café — 数学", "the theory of the thing"] * 5


def test_any_text_survives_the_round_trip():
    tokenizer = Tokenizer.train(TEXTS, 400)
    for text in [*TEXTS, "never seen: ∑ 🙂\t\x00", ""]:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.vocabulary <= 400
    assert tokenizer.begin != tokenizer.end


def test_special_tokens_in_a_text_are_text_bytes_still_sum():
    tokenizer = Tokenizer.train(TEXTS, 400)
    (ids, sizes), (none, zero) = tokenizer.encode_documents(["  数 é x", ""])
    assert sum(sizes) == len("  数 é x".encode())
    assert len(ids) == len(sizes)
    assert ids[-1] == tokenizer.end
    assert sizes[-1] == 0
    assert none == [tokenizer.end]
    assert zero == [0]


def test_saved_and_loaded(tmp_path):
    tokenizer = Tokenizer.train(TEXTS, 400)
    tokenizer.save(tmp_path / "tokenizer.json")
    for source in (tmp_path, tmp_path / "tokenizer.json", str(tmp_path)):
        again = Tokenizer.load(source)
        assert again.encode(TEXTS[1]) == tokenizer.encode(TEXTS[1])
        assert (again.begin, again.end, again.vocabulary) == (
            tokenizer.begin, tokenizer.end, tokenizer.vocabulary)  # fmt: skip


def test_a_gpt2_like_tokenizer_gains_a_begin_token_as_its_last(tmp_path):
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.train_from_iterator(TEXTS, tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))  # fmt: skip
    size = inner.get_vocab_size()
    inner.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path)
    assert (tokenizer.vocabulary, tokenizer.begin, tokenizer.end) == (size + 1, size, 0)


def test_a_hub_name_goes_to_the_hub(monkeypatch):
    inner = Tokenizer.train(TEXTS, 300).inner

    class Hub:
        @staticmethod
        def from_pretrained(name):
            if name != "openai-community/gpt2":
                raise OSError(f"no {name}\non the hub")
            return inner

    monkeypatch.setattr("ltm_pyro.data.tokenizer.tokenizers.Tokenizer", Hub)
    assert Tokenizer.load("openai-community/gpt2").vocabulary == inner.get_vocab_size()
    with pytest.raises(InputError, match="cannot load tokenizer 'nobody/nothing': no nobody"):
        Tokenizer.load("nobody/nothing")


def test_what_is_no_tokenizer_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no tokenizer at .*missing.json"):
        Tokenizer.load(tmp_path / "missing.json")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="cannot load tokenizer"):
        Tokenizer.load(tmp_path)
    with pytest.raises(InputError, match="need 258"):
        Tokenizer.train(TEXTS, 100)


def lower_casing():
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.normalizer = tokenizers.normalizers.Lowercase()
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet,
                                             show_progress=False)  # fmt: skip
    inner.train_from_iterator(["a fox met an owl"] * 9, trainer)
    return Tokenizer(inner)


def word_level():
    inner = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"[UNK]": 0, "a": 1, "fox": 2}, unk_token="[UNK]")
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return Tokenizer(inner)


@pytest.mark.parametrize("make", [lower_casing, word_level])
def test_a_tokenizer_that_loses_text_gives_no_bits_per_byte(make):
    tokenizer = make()
    assert not tokenizer.is_lossless
    assert tokenizer.comes_back(["a fox", "A FOX"]) == [True, False]
    texts = [f"a fox met owl {i}" for i in range(40)] + ["An OWL"] * 20
    corpus = ltm.load_corpus(texts, tokenizer=tokenizer, length=8)
    share = sum(not back for back in tokenizer.comes_back(texts)) / 60
    (note,) = [note for note in corpus.notes if "bits per byte are nan" in note]
    assert f"{share:.1%} of the texts cannot be read back" in note
    assert int(corpus.train.bytes.sum()) == 0
    rows = corpus.train[:4]
    model = LatentThoughtModel(ltm.preset("tiny", corpus))
    report = ltm.evaluate(model, rows, ["prior:2"], fast=ltm.Fast(steps=0), progress=False)
    assert math.isnan(report["prior"].bits_per_byte)
    assert report["prior"].to_dict()["bits_per_byte"] is None
    assert "bits per byte are nan" in str(report)
    fine = ltm.load_corpus(["a fox"] * 30, tokenizer=tokenizer, length=8)
    assert not [note for note in fine.notes if "bits" in note]
    assert int(fine.rows("all").bytes.sum()) == 30 * 5


def test_its_own_tokenizer_is_lossless_by_how_it_is_made():
    tokenizer = Tokenizer.train(["a fox met an owl"] * 9, 300)
    assert tokenizer.is_lossless
    assert all(tokenizer.comes_back(["naïve \ud7ff\U0001f98a", "A  FOX\r\n", "<|end|>", " "]))


def test_truncation_and_padding_are_switched_off(tmp_path):
    tokenizer = Tokenizer.train(["a fox met an owl"] * 9, 300)
    before = tokenizer.encode_documents(["a fox met an owl and another fox", "a"])
    tokenizer.inner.enable_truncation(3)
    tokenizer.inner.enable_padding(length=9, pad_id=0, pad_token="<|begin|>")
    tokenizer.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json").encode_documents(
        ["a fox met an owl and another fox", "a"]
    ) == before  # fmt: skip


def test_ids_with_holes_are_refused_and_known_ends_are_kept(tmp_path):
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "fox": 2}, unk_token="a"))
    inner.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match=r"has no token of id 1: .*tokenizer '.*tokenizer.json'"):
        Tokenizer.load(tmp_path / "tokenizer.json")
    words = {"[UNK]": 0, "<s>": 1, "</s>": 2, "a": 3}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    inner.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer = Tokenizer(inner)
    assert (tokenizer.begin, tokenizer.end, tokenizer.vocabulary) == (1, 2, 4)
    assert tokenizer.encode_documents(["a"])[0][0] == [3, 2]  # nothing added but the end


def test_a_long_text_is_encoded_as_if_it_were_short(monkeypatch):
    from ltm_pyro.data import tokenizer as module

    draw = random.Random(0)
    text = " ".join("".join(draw.choices("abcé'. \n", k=draw.randrange(1, 9))) for _ in range(900))
    tokenizer = Tokenizer.train([text], 400)
    whole = tokenizer.encode_documents([text, "a"])
    monkeypatch.setattr(module, "LONGEST_TEXT", 300)
    assert len(list(module._cut(text))) > 8
    assert tokenizer.encode_documents([text, "a"]) == whole


def test_a_word_of_two_million_letters_is_learned_from_in_pieces():
    """A word's merges are looked for in all of it: uncut, this one would take hours."""
    from ltm_pyro.data import tokenizer as module

    word = "abcdefghij" * 200_000
    pieces = list(module._words_cut(f"a fox {word} and", module.LONGEST_WORD))
    assert "".join(pieces) == f"a fox {word} and"
    assert max(len(w) for piece in pieces for w in piece.split()) == module.LONGEST_WORD
    assert list(module._words_cut("a fox " * 999, module.LONGEST_WORD)) == ["a fox " * 999]
    tokenizer = Tokenizer.train([word, "a fox"], 300)
    ((ids, sizes),) = tokenizer.encode_documents([word])
    assert sum(sizes) == len(word)
    assert tokenizer.decode(ids) == word
