"""The update: sections of the config → TRL's trainers; prefix trees, checkpoints, validation, rehearsal, alerts.

`PrefixSharingDPOTrainer` stands in for `trl.DPOTrainer`: the same arguments, the same losses, shared prefixes once.
"""

from pipelines.training.trainer import PrefixSharingDPOTrainer

__all__ = ["PrefixSharingDPOTrainer"]
