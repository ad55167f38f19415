"""How probable a continuation is to another model."""

import json

import pytest
import tokenizers
import torch

from ltm_pyro.errors import InputError
from ltm_pyro.experiments.quality.scorers import HuggingFace, by_control
from ltm_pyro.models import AutoregressiveModel

from ..conftest import strong


def test_the_control_scores_what_follows_a_prompt(config):
    control = strong(AutoregressiveModel(config))
    words = config.architecture.vocabulary
    # Over all next tokens probabilities add up to one, whatever the prompt.
    for prompt in ([], [3], [4, 5, 6]):
        found = by_control(control, [prompt] * words, [[t] for t in range(words)])
        assert [number for _, number in found] == [1] * words
        total = torch.tensor([-nats for nats, _ in found]).logsumexp(0)
        assert float(total) == pytest.approx(0, abs=1e-4)
    # What follows is scored token by token, beside texts of other sizes.
    whole, first, second, none = by_control(
        control, [[3], [3], [3, 7], [9, 9, 9]], [[7, 8], [7], [8], []]
    )
    assert whole[0] == pytest.approx(first[0] + second[0], abs=1e-4)
    assert none == (0.0, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("scorer"))


def saved(place):
    """A small causal model as transformers saves it, over words a to z."""
    transformers = pytest.importorskip("transformers")
    words = {"<s>": 0, "?": 1} | {chr(97 + i): i + 2 for i in range(26)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>")
    config = transformers.GPT2Config(
        vocab_size=28, n_positions=8, n_embd=16, n_layer=1, n_head=2, initializer_range=1.0,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.GPT2LMHeadModel(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def test_a_model_of_transformers_scores_what_follows_a_prompt(folder):
    scorer = HuggingFace(folder)
    letters = [chr(97 + i) for i in range(26)]
    # Over all next words (but the two that no text has) close to one; and by the chain rule.
    total = sum(torch.tensor(-scorer.score("a b", one)[0]).exp() for one in [*letters, "7"])
    with torch.no_grad():
        logits = scorer.model(torch.tensor([[0, 2, 3]])).logits[0, -1].softmax(-1)
    assert float(total) == pytest.approx(1 - float(logits[0]), abs=1e-5)
    nats, number = scorer.score("a b", "c d e")
    assert number == 3
    parts = [scorer.score("a b", "c"), scorer.score("a b c", "d"), scorer.score("a b c d", "e")]
    assert nats == pytest.approx(sum(one for one, _ in parts), abs=1e-4)
    assert scorer.score("", "a") == (pytest.approx(scorer.score("", "a")[0]), 1)
    assert scorer.score("a", "") == (0.0, 0)
    # Of more than the model reads the beginning is left out: the last five of these have a prompt
    # of three before them.
    long, size = scorer.score("z y x w v u t s", "a b c d e")
    ids = [scorer.tokenizer.convert_tokens_to_ids(c) for c in "utsabcde"]
    with torch.no_grad():
        log_p = scorer.model(torch.tensor([ids])).logits[0].log_softmax(-1)
    assert size == 5
    assert long == pytest.approx(-sum(float(log_p[2 + i, ids[3 + i]]) for i in range(5)), abs=1e-4)
    # Without a beginning of text the first word is not predicted.
    scorer.begin = None
    assert scorer.score("", "a b") == (pytest.approx(scorer.score("a", "b")[0]), 1)


def test_a_folder_runs_no_code_and_has_its_weights_in_safetensors(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for path in folder.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    settings = json.loads((other / "config.json").read_text())
    settings["model_type"] = "mine"
    settings["auto_map"] = {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Mine"}
    (other / "config.json").write_text(json.dumps(settings))
    (other / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Mine: pass\n")
    with pytest.raises(InputError, match=r"cannot be loaded"):
        HuggingFace(other)
    assert not (tmp_path / "ran").exists()
    (other / "config.json").write_bytes((folder / "config.json").read_bytes())
    HuggingFace(other)
    state = HuggingFace(folder).model.state_dict()
    (other / "model.safetensors").unlink()
    torch.save(state, other / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"cannot be loaded .*: expected .* in safetensors"):
        HuggingFace(other)
    with pytest.raises(InputError, match=r"expected the folder of a model that transformers saved"):
        HuggingFace(tmp_path / "none")
