"""One module a command group of `grocery`. Heavy imports stay inside the functions, so that --help is quick."""
