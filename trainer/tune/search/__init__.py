"""Which trial is next, and how did the others end?"""
