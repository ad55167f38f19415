"""What the fast loop costs, measured against plain torch: `python -m benchmarks --help`."""
