"""Watches the watcher: tells when the pipeline that decides alerts stands still itself. Runs outside Flink."""
