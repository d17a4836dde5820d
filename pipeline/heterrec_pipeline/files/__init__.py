"""Files and objects of a build: storage, parts, shards."""
