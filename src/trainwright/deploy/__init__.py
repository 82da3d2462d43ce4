"""Files for Docker, Kubernetes, Slurm and SkyPilot; touches nothing."""
