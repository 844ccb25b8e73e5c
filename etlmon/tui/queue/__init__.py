"""The queue: which jobs wait, in which order and why, and who works; as values and as lines."""
