"""Documents, tokenizers, and rows of tokens."""

from ltm_pyro.data.corpus import Corpus
from ltm_pyro.data.loading import load_corpus
from ltm_pyro.data.preparing import prepare
from ltm_pyro.data.rows import Rows
from ltm_pyro.data.tokenizer import Tokenizer

__all__ = ["Corpus", "Rows", "Tokenizer", "load_corpus", "prepare"]
