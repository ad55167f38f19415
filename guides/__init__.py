"""Guides: per-document approximate posteriors over thoughts, living as long as their batch."""

from ltm_pyro.guides.base import Guide, NoGuide
from ltm_pyro.guides.mean_field import MeanField

__all__ = ["Guide", "MeanField", "NoGuide"]
