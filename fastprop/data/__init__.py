"""Data larger than memory: files read block by block while a network trains."""
