"""Runs fits and predicts once, and keeps them on disk."""
