"""When do replicas agree, and on what?"""
