"""How does one task go, from its flags to its exit code?"""
