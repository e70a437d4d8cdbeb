"""Good and hostile traffic at once, for as long as is asked: memory stays flat, nothing hangs, no good request is lost."""
