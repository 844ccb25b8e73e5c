"""Pause, resume and cancel: what may be done, what the dialog says, how it goes."""
