"""Adapters that bring engines' KV to and from KDN; each imports its engine lazily."""
