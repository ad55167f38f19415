"""Decoders: token sequences given thoughts, p(x | z)."""
