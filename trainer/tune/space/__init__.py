"""Which values does a sweep try?"""
