"""The command line: finds, redraws and reports without any host."""
