"""Files and objects that a build reads and writes: storage, parts, shards."""
