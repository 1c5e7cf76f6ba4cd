"""Whatever takes time: how it is configured, seeded, saved, resumed and watched."""
