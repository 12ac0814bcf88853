"""Replays what refrigeration loggers export: CSV or Parquet, read as a mapping says, into sensor readings."""

from ingestion.replay.mapping import Mapping, MappingError, load_mapping
from ingestion.replay.reader import Replay, Summary, replay

__all__ = ["Mapping", "MappingError", "Replay", "Summary", "load_mapping", "replay"]
