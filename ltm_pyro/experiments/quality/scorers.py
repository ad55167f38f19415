"""How probable texts are to another model than the one that wrote them."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ltm_pyro.errors import InputError, first_line
from ltm_pyro.models import AutoregressiveModel
from ltm_pyro.models.likelihood import TokenSequence

Scored = tuple[float, int]
"""-log p in nats, and of how many tokens."""


@torch.no_grad()
def by_control(
    control: AutoregressiveModel, prompts: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]
) -> list[Scored]:
    """-log p(continuation | prompt) of token ids, exactly, under a decoder without latents."""
    sizes = [len(prompt) for prompt in prompts]
    whole = [[*prompt, *text] for prompt, text in zip(prompts, texts, strict=True)]
    totals = [len(ids) for ids in whole]
    tokens = torch.zeros(len(whole), max([1, *totals]), dtype=torch.long)
    for row, ids in zip(tokens, whole, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
    tokens = tokens.to(control.decoder.head.device)

    def log_p(lengths: list[int]) -> Tensor:
        known = torch.tensor(lengths, device=tokens.device)
        return TokenSequence(control.decoder, None, known, tokens.shape[1]).log_prob(tokens)

    nats = (log_p(sizes) - log_p(totals)).tolist()
    return [(n, len(text)) for n, text in zip(nats, texts, strict=True)]


def check_folder(folder: Path) -> None:
    """Raises InputError without transformers, or for a folder that holds no model of it."""
    if importlib.util.find_spec("transformers") is None:
        raise InputError("--scorer needs transformers: pip install 'ltm-pyro[quality]'")
    if not (folder / "config.json").is_file():
        raise InputError(
            f"--scorer {folder}: expected the folder of a model that transformers saved, with "
            "config.json, model.safetensors and its tokenizer"
        )


class HuggingFace:
    """A causal language model in a folder, as transformers saves it.

    Nothing is fetched, no code of the folder's own runs, and weights are read from safetensors
    alone.

    Args:
        folder: of the model and its tokenizer.
        device: where it is computed.

    Raises:
        InputError: without transformers, or for a folder that holds no such model.
    """

    def __init__(self, folder: Path, device: str = "cpu"):
        check_folder(folder)
        from transformers import AutoModelForCausalLM, AutoTokenizer

        own: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), **own)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                str(folder), use_safetensors=True, **own
            )
        except Exception as error:  # transformers raises many kinds
            raise InputError(
                f"--scorer {folder} cannot be loaded ({first_line(error)}): expected a causal "
                "language model in safetensors, and its tokenizer"
            ) from None
        self.model = loaded.to(device).eval()
        self.longest: int | None = getattr(self.model.config, "max_position_embeddings", None)
        self.begin: int | None = self.tokenizer.bos_token_id

    @torch.no_grad()
    def score(self, prompt: str, text: str) -> Scored:
        """-log p(text | prompt), prompt and text each in tokens of this model.

        Without a prompt its first token is predicted from its beginning of text, and counts not
        where it has none. Of what is longer than the model reads the beginning is left out.
        """
        given = self._ids(prompt)
        if self.begin is not None:
            given = [self.begin, *given]
        ids = [*given, *self._ids(text)]
        first = max(1, len(given))  # what nothing precedes is not predicted
        if self.longest is not None and len(ids) > self.longest:
            cut = len(ids) - self.longest
            ids, first = ids[cut:], max(1, first - cut)
        if len(ids) <= first:
            return 0.0, 0
        tokens = torch.tensor([ids], device=self.model.device)
        logits = self.model(tokens).logits[0, first - 1 : -1].float()
        log_p = logits.log_softmax(-1).gather(1, tokens[0, first:, None])
        return -float(log_p.double().sum()), len(ids) - first

    def _ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found
