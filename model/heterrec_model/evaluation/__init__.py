"""Full-catalogue ranking, Recall and nDCG of it, and paired comparisons of two results."""
