"""Many models trained beside their controls: grids, cells, what they spend and what they find."""
