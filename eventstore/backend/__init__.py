"""Who holds a log: the writer's file log, and the follower of another process."""
