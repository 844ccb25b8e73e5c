"""Log lines as the console knows and draws them. Pure but for the feed, which listens."""
