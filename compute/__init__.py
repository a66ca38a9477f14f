"""Azure as the engine's ports see it. The Azure SDKs are imported here and nowhere else."""
