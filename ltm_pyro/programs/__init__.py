"""Pyro programs at given latents: their sites, densities and ELBO."""
