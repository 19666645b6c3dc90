"""What would it cost, without running it?"""
