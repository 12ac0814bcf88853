"""The lakehouse on AWS Glue and EMR: the catalog, entry scripts for jobs, and what a job needs with it."""
