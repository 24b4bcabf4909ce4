"""What netinspect costs, as ratios against a limit measured in the same run."""
