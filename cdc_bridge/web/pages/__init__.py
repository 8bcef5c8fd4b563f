"""The pages, one module for each matter."""
