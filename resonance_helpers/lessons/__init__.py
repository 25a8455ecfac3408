"""One folder for each of the ten notebooks, with the notebook's name: what it computes and what it shows."""
