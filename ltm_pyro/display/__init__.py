"""How things show themselves: progress, tables in a notebook, pictures."""
