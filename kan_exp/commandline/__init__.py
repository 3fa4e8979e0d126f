"""Command lines as Hydra reads them, and errors in one line."""
