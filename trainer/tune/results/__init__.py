"""What do people see of a sweep?"""
