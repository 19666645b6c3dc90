"""Is everyone here, alike, and still here?"""
