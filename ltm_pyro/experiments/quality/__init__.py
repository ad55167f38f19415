"""What texts are like: statistics of them, scorers, and what is told."""
