"""Questions behind demonstrations: answers, and what is told of them."""
