"""The measures: what each training example does."""
