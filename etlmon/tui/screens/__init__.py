"""The tabs and what is pushed over them: one file each."""
