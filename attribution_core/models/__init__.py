"""Models that SampleScope can build by name."""
