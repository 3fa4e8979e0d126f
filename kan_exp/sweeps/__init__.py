"""Many runs by one command: planning, launching and summarizing them."""
