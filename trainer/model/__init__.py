"""What is computed in one step?"""
