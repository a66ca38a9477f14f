"""Judges of a run, apart from those who play it: the world, what was known, and the books."""
