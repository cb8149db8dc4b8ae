"""The command line: it asks, prints and sets exit codes; behaviour lives below."""
