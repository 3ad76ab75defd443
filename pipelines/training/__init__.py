"""The update: preference pairs into TRL's DPO trainer, under `accelerate launch`."""
