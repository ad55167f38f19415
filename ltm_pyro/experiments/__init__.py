"""Studies: each trains or scores many models under one protocol, and reports what it saw."""
