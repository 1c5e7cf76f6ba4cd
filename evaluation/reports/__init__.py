"""Results as pages, tables and figures for people, and as text for a paper."""
