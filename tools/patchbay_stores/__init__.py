"""Patchbay's store beside others that keep arrays: speed, and what damage does to them."""
