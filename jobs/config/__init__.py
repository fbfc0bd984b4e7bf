"""The job file: read once, at the edge; every mistake at once, each with its line; frozen values go down from here."""
