"""Everything but the screen: data, gradients, scores, probes, storage and jobs."""
