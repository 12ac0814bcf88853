"""Where alerting runs live: one folder a job, `job.py` wires, `query.sql` says what is computed."""
