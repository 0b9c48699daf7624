"""A showcase: live pages on two workers that share their state."""
