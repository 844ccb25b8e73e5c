"""Pause, resume, cancel, retry and priority: what may be done, what the dialog says, how it goes."""
