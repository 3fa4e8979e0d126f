"""Trained networks in the user's units: what they are, and how they are loaded from a folder."""
