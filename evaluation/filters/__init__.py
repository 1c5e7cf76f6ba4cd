"""The curation: what synthetic cells must pass before they train anything, and what each filter is worth."""
