"""Latent-thought language models as Pyro programs, scored by valid likelihood bounds."""

from ltm_pyro.config import Config, Fast, Slow, Thoughts, Training, preset
from ltm_pyro.data import Corpus, Rows, Tokenizer, load_corpus
from ltm_pyro.inference import DualRateSVI, Posterior

__version__ = "0.1.0"
__all__ = ["Config", "Corpus", "DualRateSVI", "Fast", "Posterior", "Rows", "Slow", "Thoughts", "Tokenizer", "Training", "load_corpus", "preset"]
