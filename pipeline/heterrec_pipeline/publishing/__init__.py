"""From tables to files that stand: parts, shards, and the manifest that makes them visible."""
