"""What thoughts hold: probes, and what is told of them."""
