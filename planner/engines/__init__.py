"""What serving engines default to and cost: profiles as YAML, and the kernel family of a device. Not their flags."""
