"""Every legal way to split the job, costed, ranked and explained."""
