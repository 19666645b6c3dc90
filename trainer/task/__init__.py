"""How does one task go, from its flags to its exit code?"""

PRELOAD = "trainer.task.preload"  # By name: to import it here would take seconds.
