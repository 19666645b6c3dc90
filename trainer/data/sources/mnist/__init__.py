"""MNIST: from its four files to arrays."""
