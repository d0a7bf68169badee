"""Labelled formats of other projects: one module each, read into texts and labels. See steering/prompt_file.py."""
