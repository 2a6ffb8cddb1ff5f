"""The process pool: `LowPriorityProcessPoolExecutor`, its worker processes, and what travels between them."""
