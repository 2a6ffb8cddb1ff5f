"""The thread pool: `PriorityThreadPoolExecutor`, its worker threads, and who decides how many of them run at once."""
