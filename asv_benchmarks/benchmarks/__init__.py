"""The asv benchmarks: a file per subject, in it a class per kernel or layer."""
