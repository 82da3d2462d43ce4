"""The prediction: seconds, bytes, joules and dollars of one step, each a sum of named parts."""
