"""Which tasks are in this cluster, and which one is this process?"""
