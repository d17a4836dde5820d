"""Vocabularies too large for one worker: counted, numbered and looked up by hash bucket (see docs/adr/0015)."""
