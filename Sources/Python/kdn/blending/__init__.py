"""Blending: one KV cache composed of the KV of several documents."""
