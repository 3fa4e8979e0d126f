"""Many runs compared: grouped, summed up over seeds, drawn, and written down; without torch."""
