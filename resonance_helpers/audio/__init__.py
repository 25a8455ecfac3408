"""Recordings as samples: decode any file, measure a clip's quality, find where it is silent."""
