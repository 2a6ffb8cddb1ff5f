"""The same priorities in other libraries. Each module needs the extra of its name, and is imported on demand."""
