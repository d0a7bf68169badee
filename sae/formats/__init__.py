"""SAE files of other libraries, one module for each; `sae.library` finds out which one a folder is of."""
