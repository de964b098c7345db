"""Are two rewards the same, and does a reward do what it should? Nothing here trains a policy."""

from guerdon.compare.probe import Finding, Probe, probe

__all__ = ["Finding", "Probe", "probe"]
