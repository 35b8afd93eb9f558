"""From a configuration to a dataset and a model that are ready to be trained."""
