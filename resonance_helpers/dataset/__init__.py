"""A person's recordings as data: labels, consent, the index of utterances, phrases, splits, duplicates."""
