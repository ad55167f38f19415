"""Whatever is given ends in success or in the project's own error: inputs by the million.

`python -m tests.fuzzing --help` tells how many there are to be, of which kinds, for how long; a few
of each kind always run, in `test_fuzzing.py`.
"""
