"""How events look: plain lines, log groups, a live view, JSON lines, and the summary at the end."""
