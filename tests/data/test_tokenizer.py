import pytest
import tokenizers

from ltm_pyro.data import Tokenizer
from ltm_pyro.errors import InputError

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
