"""Publishing a generation: rejects, statistics, the manifest that makes it visible, the lease that protects it before."""
