"""The command line: what a person types, and nothing of how it is done."""
