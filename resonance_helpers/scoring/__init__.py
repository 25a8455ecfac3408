"""Error rates with their intervals, text normalization, learning curves, error analysis."""
