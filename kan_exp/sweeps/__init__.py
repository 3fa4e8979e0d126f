"""Many runs by one command: which, by whom they are launched, and what came of them."""
