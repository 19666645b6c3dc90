"""Which devices does this process get?"""
