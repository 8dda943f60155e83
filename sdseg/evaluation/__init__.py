"""Stage: slice store and model -> scores, pictures and studies."""
