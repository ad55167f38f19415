"""What ends a training, and what its user can do about it."""

LOWER_RATES = (
    "from there it would go the same way: train another run with a lower --slow.lr, --slow.clip or "
    "--fast.lr"
)
LOWER_MEMORY = (
    "another run needs less with a smaller --batch or --length, or the same batch with "
    "--slow.accumulate 2, --slow.recompute and --fast.recompute"
)
