"""Is everyone here, with equal fingerprints, and still here?"""
