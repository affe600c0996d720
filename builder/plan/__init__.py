"""Instructions to a graph of operations; pure."""
