"""Euclidean neural networks: features are geometric tensors, layers commute with rotations, reflections and translations."""
