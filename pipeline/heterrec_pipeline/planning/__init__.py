"""What a build will take and give, told from schemas, footers and a sample, without running it."""
