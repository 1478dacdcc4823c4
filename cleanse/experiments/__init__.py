"""One experiment from data to results; the only place that reads the truth."""
