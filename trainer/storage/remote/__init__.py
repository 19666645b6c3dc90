"""How does a run live in a bucket?"""
