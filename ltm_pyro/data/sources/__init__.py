"""Where documents are read from."""
