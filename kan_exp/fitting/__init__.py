"""Networks in one call: rows in memory in, a trained model out; no files."""
