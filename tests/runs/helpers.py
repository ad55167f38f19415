"""Short runs, and what they are compared by."""

import dataclasses

import torch

import ltm_pyro as ltm


def with_training(config, **changes):
    return config.replace(training=dataclasses.replace(config.training, **changes))


def train(config, out, **rest):
    return ltm.train(config, out, progress=False, **rest)


def weights(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def flip(path, bit):
    """Turn one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
