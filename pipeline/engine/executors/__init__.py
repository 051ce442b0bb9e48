"""The executors, which run stages and put the results into the store, one module each."""
