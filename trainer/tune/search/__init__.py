"""Which trial is next, and what came of the others?"""
