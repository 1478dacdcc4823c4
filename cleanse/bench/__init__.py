"""Grids of recipes, attacks, data, rates and seeds, run cell by cell on this machine or on a cluster."""
