"""What the benchmarks share: bases, workloads, rivals, measuring, and reports."""
