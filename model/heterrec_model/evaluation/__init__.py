"""Full-catalogue ranking, Recall and nDCG, and paired comparisons of results."""
