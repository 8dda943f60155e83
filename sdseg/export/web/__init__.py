"""A model in one HTML file, for a browser: `sdseg export --to web`. What is in `assets` is built from web/."""
