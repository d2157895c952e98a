"""One file, one pattern. Each imports the kernel only, never another pattern."""
