"""Log lines on disk: compressed blocks, compacted into chunks per job with word search, one file per day."""

from etlmon.core.words import has_words, words_of
from etlmon.server.store.logs.query import LogPage, LogQuery
from etlmon.server.store.logs.settings import BlockRef, LogSettings, LogStats
from etlmon.server.store.logs.store import LogStore

__all__ = ["BlockRef", "LogPage", "LogQuery", "LogSettings", "LogStats", "LogStore", "has_words", "words_of"]
