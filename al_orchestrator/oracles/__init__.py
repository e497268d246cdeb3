"""Who answers what a sample is."""
